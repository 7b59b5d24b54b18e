#!/usr/bin/env bash
# Test and time the loss core on a GPU, without installing the package or its other requirements:
#     bash tools/bench/gpu.sh [PYTHON]      PYTHON (default python3) must have torch; pytest is downloaded if it is missing
# Without a GPU this runs on one CPU thread; BENCH="--size small --rounds 3" makes it short.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
python=${1:-python3}

if ! "$python" -c "import pytest" 2>/dev/null; then
    extra=$(mktemp -d)
    trap 'rm -rf "$extra"' EXIT
    "$python" -m pip install --quiet --target "$extra" pytest
    export PYTHONPATH="$extra${PYTHONPATH:+:$PYTHONPATH}"
fi
device=$("$python" -c "import torch; print('cuda' if torch.cuda.is_available() else 'cpu')")
"$python" -m pytest tests/losses --quiet -W "ignore:Failed to initialize NumPy" # which torch can do without
# shellcheck disable=SC2086
PYTHONPATH=".${PYTHONPATH:+:$PYTHONPATH}" "$python" tools/bench/bench_losses.py --device "$device" ${BENCH:-}
