#!/usr/bin/env bash
# Trains on a slurm cluster: slurm_train.sh PARTITION JOB_NAME CONFIG [WORK_DIR] [options of train.py]
# GPUS, GPUS_PER_NODE and CPUS_PER_TASK size the job; SRUN_ARGS and PY_ARGS are passed on.
# In a batch job (sbatch --requeue --signal=USR1@120), a training that has to stop saves, has the job
# queued again, and goes on then. Elsewhere it exits with code 75; --resume goes on.
set -euo pipefail

if [ $# -lt 3 ]; then
    echo "usage: $0 PARTITION JOB_NAME CONFIG [WORK_DIR] [options of train.py]" >&2
    exit 2
fi
PARTITION=$1
JOB_NAME=$2
CONFIG=$3
shift 3
if [ $# -gt 0 ] && [[ $1 != -* ]]; then
    # Not an array of its own: bash before 4.4 takes an empty one for unset.
    set -- --work-dir "$@"
fi
GPUS=${GPUS:-8}
GPUS_PER_NODE=${GPUS_PER_NODE:-$((GPUS < 8 ? GPUS : 8))}

if [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ]; then
    set -- "$@" --resume
fi

CODE=0
# SRUN_ARGS and PY_ARGS are lists of words, so they stay without quotes.
# shellcheck disable=SC2086
srun -p "$PARTITION" \
    --job-name="$JOB_NAME" \
    --gres=gpu:"$GPUS_PER_NODE" \
    --ntasks="$GPUS" \
    --ntasks-per-node="$GPUS_PER_NODE" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" \
    --kill-on-bad-exit=1 \
    ${SRUN_ARGS:-} \
    "${PYTHON:-python}" -u "$(dirname "$0")/train.py" "$CONFIG" "$@" ${PY_ARGS:-} \
    --launcher slurm || CODE=$?
if [ "$CODE" -eq 75 ] && [ -n "${SLURM_JOB_ID:-}" ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$CODE"
