#!/usr/bin/env bash
# Make .venv with the pinned packages of requirements/constraints.txt and this project (editable). `make setup` calls this.
#   PYTHON=/path/to/python3.11   another interpreter
#   XDG_CACHE_HOME=DIR           cache for mmcv's built wheel (default ~/.cache), so that mmcv is built only once
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
  echo "setup: $*" >&2
  exit 1
}

python=${PYTHON:-python3.11}
command -v "$python" >/dev/null || fail "$python was not found: install Python 3.11 with venv, or set PYTHON=/path/to/python3.11"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
[ "$version" = 3.11 ] || fail "$python is Python $version, but the pinned packages need 3.11: set PYTHON=/path/to/python3.11"
command -v g++ >/dev/null || fail "g++ was not found: install a C++ compiler to build mmcv (Debian, Ubuntu: apt-get install build-essential)"

"$python" -m venv .venv
pip() { .venv/bin/python -m pip --disable-pip-version-check "$@" -c requirements/constraints.txt; }

echo "setup: installing torch and build tools"
pip install -q "setuptools<81" wheel ninja psutil torch

torch_version=$(.venv/bin/python -c 'import torch; print(torch.__version__)')
cache=${XDG_CACHE_HOME:-$HOME/.cache}/lidar_rank/wheels/torch-$torch_version
if ! compgen -G "$cache/mmcv-*.whl" >/dev/null; then
  echo "setup: building mmcv's operators once for this version of torch, which takes 10 to 30 minutes on 2 cores"
  mkdir -p "$cache"
  building=$(mktemp -d "$cache/building.XXXX")
  trap 'rm -rf "$building"' EXIT
  # ninja numbers its steps "[3/77]"; all other output goes to the log.
  PATH="$PWD/.venv/bin:$PATH" MMCV_WITH_OPS=1 MAX_JOBS=$(nproc) PIP_CONSTRAINT='' \
    .venv/bin/python -m pip --disable-pip-version-check wheel -v -w "$building" \
    --no-deps --no-build-isolation --no-binary mmcv mmcv==2.1.0 2>&1 |
    tee "$cache/build.log" | { grep --line-buffered -oE '\[[0-9]+/[0-9]+\]' || true; } | # pip may have the wheel
    awk '{ print "setup: mmcv " $1; fflush() }' ||
    fail "building mmcv failed: $(grep -m1 -E 'error' "$cache/build.log"); the whole log is in $cache/build.log"
  mv "$building"/mmcv-*.whl "$cache/"
fi

echo "setup: installing mmcv from $cache, then everything else"
pip install -q --no-deps --no-index "$cache"/mmcv-*.whl
pip install -q --no-build-isolation -e ".[mmdet3d,dev]"

.venv/bin/python -c 'import mmcv.ops' 2>/dev/null ||
  fail "mmcv has no operators for torch $torch_version: delete $cache and run 'make setup' again to build them"
.venv/bin/python -m pip --disable-pip-version-check check
echo "setup: done; the commands are in .venv/bin (try .venv/bin/lidar-rank --help)"
