#!/usr/bin/env bash
# Tests in several processes: dist_test.sh CONFIG CHECKPOINT GPUS [options of test.py]
# On several machines, set NNODES, NODE_RANK, MASTER_ADDR and PORT on each. Without CUDA, GPUS is
# the number of processes on the CPU.
set -euo pipefail

if [ $# -lt 3 ]; then
    echo "usage: $0 CONFIG CHECKPOINT GPUS [options of test.py]" >&2
    exit 2
fi
CONFIG=$1
CHECKPOINT=$2
GPUS=$3
shift 3
PYTHON=${PYTHON:-python}
TEST=$(dirname "$0")/test.py

# What is wrong is told once here, not by each process between torchrun's tracebacks.
LOCAL_WORLD_SIZE=$GPUS "$PYTHON" "$TEST" "$CONFIG" "$CHECKPOINT" "$@" --launcher pytorch --check
"$PYTHON" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$GPUS" \
    "$TEST" "$CONFIG" "$CHECKPOINT" "$@" --launcher pytorch
