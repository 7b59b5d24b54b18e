#!/usr/bin/env bash
# Train under Slurm: slurm_train.sh PARTITION JOB CONFIG PROCESSES [options of lidar-rank train]
# GPUS_PER_NODE, CPUS_PER_TASK and SRUN_ARGS are read from the environment.
set -euo pipefail
per_node=${GPUS_PER_NODE:-$(($4 < 8 ? $4 : 8))}
srun -p "$1" --job-name="$2" --gres="gpu:$per_node" --ntasks="$4" --ntasks-per-node="$per_node" \
  --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
  python -u "$(dirname "$0")/train.py" "$3" "${@:5}"
