#!/usr/bin/env bash
# Make .venv with the packages that requirements/constraints.txt pins and this project (editable). Nothing is compiled.
# After an interruption or an error, the next call goes on: steps that are done are short, and pip caches what it downloads.
#   PYTHON=python3.12   the Python to use (default: that of .venv, else python3.11, python3.12 or python3.10)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PIP_DISABLE_PIP_VERSION_CHECK=1
log=.venv/setup.log # output of the last call of pip
trap 'echo "setup: interrupted; the next call goes on from here" >&2; exit 130' INT TERM

say() { echo "setup: $*"; }
fail() {
  echo "setup: $*" >&2
  exit 1
}

version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }
is_supported() { case "$(version_of "$1")" in 3.10 | 3.11 | 3.12) ;; *) false ;; esac }
has_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }
has_gpu() { nvidia-smi >/dev/null 2>&1; }

find_python() {
  if [ -n "${PYTHON:-}" ]; then
    python=$PYTHON
  elif [ -d .venv ] && is_supported .venv/bin/python; then
    python=.venv/bin/python
    return
  else
    for python in python3.11 python3.12 python3.10 python3; do
      if is_supported "$python" && has_venv "$python"; then return; fi
    done
    for python in python3.11 python3.12 python3.10 python3 none; do
      if is_supported "$python"; then break; fi
    done
    [ "$python" != none ] || fail "found no Python 3.10, 3.11 or 3.12: install one with venv (Debian, Ubuntu:" \
      "apt-get install python3.11-venv) or name it with PYTHON=/path/to/python"
  fi
  [ -n "$(version_of "$python")" ] || fail "$python does not run: set PYTHON to the path of Python 3.10, 3.11 or 3.12"
  is_supported "$python" || fail "$python is Python $(version_of "$python"), but mmdet3d and its packages need 3.10," \
    "3.11 or 3.12: set PYTHON to the path of one (losses and evaluation alone: pip install, see README.md)"
  has_venv "$python" || fail "$python has no module venv: install it (Debian, Ubuntu: apt-get install" \
    "python$(version_of "$python")-venv), or name another Python with PYTHON=/path/to/python"
}

make_venv() {
  local here
  here=$(version_of .venv/bin/python || true)
  if [ -d .venv ] && [ "$here" != "$(version_of "$python")" ]; then
    say "making .venv anew, as its Python is ${here:-broken}"
    "$python" -m venv --clear .venv || fail "$python could not make .venv; its reason is above"
  elif ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    "$python" -m venv .venv || fail "$python could not make .venv; its reason is above"
  fi
  : >"$log"
  .venv/bin/python -m pip install -q --log "$log" $(grep -E '^(pip|setuptools)==' requirements/constraints.txt) >/dev/null 2>&1 ||
    fail_for_reason
  if compgen -G ".venv/lib/python*/site-packages/mmcv-[0-9]*.dist-info" >/dev/null; then
    say "mmcv-lite takes the place of the compiled mmcv of an earlier set-up (docs/architecture.md: mmcv's operators)"
    .venv/bin/python -m pip uninstall -q -y mmcv mmcv-lite
  fi
}

check_disk() { # in GB, for .venv and pip's downloads together
  local free_kb used_kb need_gb=$1
  free_kb=$(df -Pk . | awk 'NR == 2 { print $4 }')
  used_kb=$(du -sk .venv 2>/dev/null | cut -f1 || true)
  [ $((free_kb + ${used_kb:-0})) -ge $((need_gb * 1000000)) ] || fail "the disk of $PWD is full: .venv needs about" \
    "$need_gb GB and $((free_kb / 1000000)) GB are free; free some and call this again"
}

# pip says more than one wants to read: show the large files, how much of them has come, and how many packages are done.
show_progress() {
  local line file="" seen=0 total words
  total=$(cut -d= -f1 requirements/constraints.txt | sort -u | wc -l)
  while IFS= read -r line; do
    read -ra words <<<"$line"
    case $line in
      *Downloading*.whl* | *"Using cached"*.whl* | *Processing*.whl*)
        seen=$((seen + 1)) file=${line##*/} file=${file#*Downloading } file=${file%%-cp3*} file=${file%%-py*}
        case $line in
          *Downloading*[MG]B\)) say "  $file ${words[2]} ${words[3]}, package $seen of about $total" ;;
        esac
        ;;
      Progress\ *)
        if [ -t 1 ] && [ "${words[3]}" -gt 10000000 ]; then
          printf '\rsetup:   %s: %d of %d MB' "$file" $((words[1] / 1000000)) $((words[3] / 1000000))
          [ "${words[1]}" != "${words[3]}" ] || echo
        fi
        ;;
      "Installing collected packages"*) say "  unpacking $((${#words[@]} - 3)) packages" ;;
    esac
  done
}

pip() {
  : >"$log" # to which pip appends more than it prints
  # Step 5 compiles what a start imports, which takes a minute less than to compile all of it now.
  .venv/bin/python -m pip install --log "$log" --progress-bar raw --no-compile -c requirements/constraints.txt "$@" 2>&1 |
    show_progress
}

# What pip was stopped by, in one line; the next call goes on.
fail_for_reason() {
  local reason network
  network='HTTP error [0-9]{3}|[0-9]{3} (Client|Server) Error|too many [0-9]{3} error|Failed to (establish|resolve)'
  network+='|[Cc]onnection (refused|broken|aborted|reset)|timed out'
  reason=$(grep -a -m1 -o 'No space left on device' "$log" || grep -a -oE "($network).*" "$log" | tail -1 ||
    grep -a -o 'ERROR: .*' "$log" | tail -1 || echo "it gives no reason")
  case $reason in
    *"No space left"*) fail "the disk is full ($(df -Ph . | awk 'NR == 2 { print $4 }') free for .venv): free some" \
      "space, also where pip caches and unpacks (\$HOME/.cache/pip, \$TMPDIR or /tmp), then call this again" ;;
    *) fail "pip could not get all packages (${reason:0:200}): check the network and pip's settings (pip config list)," \
      "then call this again, which goes on from here; pip's output is in $PWD/$log" ;;
  esac
}

# PyPI has torch for CUDA alone; other indexes have builds for CPUs, whose versions end in +cpu.
install_torch() {
  local torch index
  torch=$(grep -m1 '^torch==' requirements/constraints.txt)
  if has_gpu || [ "$(uname -sm)" != "Linux x86_64" ]; then
    pip "$torch" || fail_for_reason
    return
  fi
  for index in "" "--extra-index-url=https://download.pytorch.org/whl/cpu --retries=0 --timeout=10"; do
    # shellcheck disable=SC2086
    if pip "$torch+cpu" $index; then return; fi
    grep -qi 'no matching distribution' "$log" && ! grep -q 'from versions: none' "$log" || fail_for_reason
  done
  say "  no package index that answers has torch for CPUs: the build for CUDA is a download of 2.7 GB. To avoid it, set"
  say "  PIP_EXTRA_INDEX_URL to an index that has it (pytorch.org names one)"
  check_disk 12
  pip "$torch" || fail_for_reason
}

check_gpu() {
  .venv/bin/python - <<'PYTHON'
import torch

if torch.cuda.is_available():
    print(f"setup: torch {torch.__version__} on {torch.cuda.get_device_name()}")
elif torch.version.cuda is None:
    print(f"setup: the package index gave torch {torch.__version__}, which is for CPUs: trainings will not use the GPU")
else:
    print(f"setup: torch {torch.__version__} does not start on this GPU: update its driver for CUDA {torch.version.cuda}")
PYTHON
}

find_python
if has_gpu; then device=GPU disk_gb=12 extras=mmdet3d,simulation,view,gpu,dev; else device=CPU disk_gb=5 extras=mmdet3d,simulation,view,dev; fi
say "[1/5] .venv with Python $(version_of "$python"), for a $device"
check_disk $disk_gb
make_venv
say "[2/5] torch"
install_torch
say "[3/5] Open3D" # alone, so that an interruption later does not cost this download again
pip --no-deps open3d || fail_for_reason
say "[4/5] mmdet3d and tools"
pip --no-build-isolation -e ".[$extras]" || fail_for_reason
say "[5/5] check, and a first start"
.venv/bin/python -m pip check || fail "these packages in .venv do not fit each other: 'make clean', then call this again"
# Python keeps what it compiles here even if PYTHONDONTWRITEBYTECODE is set, with which every start would compile it again.
PYTHONDONTWRITEBYTECODE='' .venv/bin/python -W ignore -c "
import matplotlib.pyplot, torch._dynamo, torch.utils.tensorboard
import lidar_rank.evaluation, lidar_rank.mm.running, lidar_rank.simulation" || fail "the packages in .venv do not load, see above"
if has_gpu; then check_gpu; fi
say "done; the commands are in .venv/bin (try .venv/bin/lidar-rank --help)"
