#!/usr/bin/env bash
# Everything that needs a GPU, on a bare machine: the tests marked gpu, the costs of losses and operators, and trainings of
# the full-size detectors on scans that are simulated there.
#     bash tools/bench/gpu.sh OUT [PART ...]     PART: tests losses ops kernels second sassd weights; default all but
#                                                weights, 15 minutes; weights: the models that come with the package, at once
# Every part has a time limit, and its result is in OUT/results.md and OUT/log.txt at once; a part that fails stops no other.
#
# PYTHON   interpreter with torch (default python3)
# WHEELS   folder of wheels with what the machine lacks, installed without a network (default .whl)
# FRAMES   real frames packed by tools/bench/real_frames.py, to test on as well (default .gpu/real_frames.tar.xz)
# WORK     folder for installed wheels, data and logs (default /tmp/lidar_rank_gpu); a second call finds them there again
# SCANS    scans to train on (default 3000); 100 more are held back
# SECONDS_EACH  for the training of a detector (default 180)
# SECONDS_WEIGHTS  for the training of the models of the package (default 200)
# DRY_RUN=1     small detectors and problems instead, for a CPU
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
out=$(realpath -m "${1:?usage: bash tools/bench/gpu.sh OUT [PART ...]}")
shift
parts=${*:-tests losses ops kernels second sassd}
python=${PYTHON:-python3}
work=${WORK:-/tmp/lidar_rank_gpu}
scans=${SCANS:-3000}
seconds=${SECONDS_EACH:-180}
frames=${FRAMES:-.gpu/real_frames.tar.xz}
wheels=$(realpath -m "${WHEELS:-.whl}")
cores=$(env -u OMP_NUM_THREADS nproc) # nproc minds this variable
mkdir -p "$out" "$work"
export PYTHONPATH="$PWD:$work/site" PYTHONUNBUFFERED=1 PYTHONWARNINGS=ignore::SyntaxWarning
# Simulation, loading and the numba kernels run in many processes: one thread in each.
export OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false

# NAME LIMIT_S COMMAND...: run a part; what it prints goes to the log, and its end to the results.
part() {
  local name=$1 limit=$2 start=$SECONDS status
  shift 2
  echo "=== $name: $*" >>"$out/log.txt"
  timeout --signal=INT --kill-after=15 "$limit" "$@" >"$work/$name.log" 2>&1
  status=$?
  cat "$work/$name.log" >>"$out/log.txt"
  printf '\n## %s: exit status %d after %d s of at most %d s\n' "$name" "$status" $((SECONDS - start)) "$limit" |
    tee -a "$out/results.md"
}

# NAME LINES: the last lines of a part's log, as it printed them.
quote() { { echo '```' && tail -n "$2" "$work/$1.log" && echo '```'; } >>"$out/results.md"; }

{
  echo "# $(date -u '+%Y-%m-%d %H:%M'), $cores cores"
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
} >>"$out/results.md" 2>&1

if [ -d "$wheels" ] && [ ! -d "$work/site" ]; then
  # A second call must not find the half of an installation.
  part install 120 "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade \
    --target "$work/site.new" "$wheels"/*.whl
  mv "$work/site.new" "$work/site"
  quote install 5
fi
part versions 90 "$python" -c 'import sys, numpy, torch; print(sys.version, "numpy", numpy.__version__, "torch", torch.__version__)
import lidar_rank.mm; from lidar_rank import sparse; print(sparse.backend().__name__)'
quote versions 5

make_data() {
  lidar_rank() { "$python" -c 'from lidar_rank.cli import main; raise SystemExit(main())' "$@"; }
  rm -rf "$work/simulated" # of an interrupted call
  time lidar_rank simulate "$work/simulated" --scans $((scans + 100)) --val 100 --seed 0 --jobs "$cores" --no-images
  time lidar_rank create-data "$work/simulated" --image-size 1242 375 --jobs "$(nproc)"
  if [ -f "$frames" ]; then "$python" tools/bench/real_frames.py unpack "$frames" "$work/real"; fi
  touch "$work/data_is_complete"
}
export -f make_data
export python work scans frames cores
if [ ! -f "$work/data_is_complete" ]; then
  part data 240 bash -ec make_data &
fi

train() {
  local name=$1 tests=()
  shift
  [ -d "$work/real" ] && tests=(--test "$work/real")
  part "$name" $((seconds + 90)) "$python" tools/bench/bench_training.py "$@" --name "$name" --data "$work/simulated" \
    "${tests[@]}" --seconds "$seconds" --out "$out" --work-dir "$work/trainings"
  grep -q '"test"' "$out/$name.json" 2>/dev/null || quote "$name" 15
}

run_tests() {
  local workers=()
  "$python" -c 'import xdist' 2>/dev/null && workers=(-n 8)
  # The packages of the machine are not the pinned ones, and warn of other things. With -v a test that fails has its name
  # in the log at once, also if the rest runs into the limit.
  part tests 120 "$python" -m pytest -m gpu -v -W default -p no:cacheprovider --durations=5 "${workers[@]}"
  { grep FAILED "$work/tests.log" | sort -u || true; } >>"$out/results.md"
  quote tests 25
}

if [ "${DRY_RUN:-}" ]; then
  tests() { run_tests; }
  losses() { part losses 60 "$python" tools/bench/bench_losses.py --size small --rounds 1 --only DR && quote losses 100; }
  ops() { echo "no GPU" >>"$out/results.md"; }
  kernels() { echo "no GPU" >>"$out/results.md"; }
  second() { train second configs/second/second_kitti-car_small.py --loss focal-rankdet-iou --batch-size 2 --warm-up 2 --probe 2; }
  sassd() { train sassd configs/sassd/sassd_kitti-car_small.py --batch-size 2 --warm-up 2 --probe 2; }
else
  tests() { run_tests; }
  losses() {
    part losses 60 "$python" tools/bench/bench_losses.py --device cuda --rounds 3
    cat "$work/losses.log" >>"$out/results.md"
  }
  ops() {
    part ops 45 "$python" tools/bench/bench_ops.py --device cuda
    quote ops 100
  }
  # spconv-triton compiles its kernels in the first step that needs them, for minutes; Triton keeps what it found.
  kernels() {
    part kernels 420 "$python" tools/bench/bench_training.py configs/second/second_kitti-car.py --name kernels \
      --data "$work/simulated" --seconds 0 --warm-up 1 --probe 1 --workers 1 --out "$work" --work-dir "$work/trainings"
  }
  second() { train second configs/second/second_kitti-car.py --loss box-iou; }
  sassd() { train sassd configs/sassd/sassd_kitti-car.py --loss box-iou; }
fi

weights() {
  seconds=${SECONDS_WEIGHTS:-200}
  ship() { train "$1" "configs/$2" --loss "$3" --workers 3 --weights "$out/$1.safetensors"; }
  ship second_kitti-car second/second_kitti-car_small.py box-iou &
  ship second_kitti-car_rankdet second/second_kitti-car_small.py rankdet+box-iou &
  ship second_kitti-3class second/second_kitti-3class_small.py box-iou &
  ship sassd_kitti-car sassd/sassd_kitti-car_small.py box-iou &
  wait
}

for name in $parts; do
  # Timings wait until the simulation no longer takes all cores.
  [ "$name" = tests ] || wait
  "$name"
done
wait
cat "$out/results.md"
