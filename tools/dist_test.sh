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

# Here, bad input is reported once; torchrun adds a traceback whenever its processes fail.
LOCAL_WORLD_SIZE=$GPUS "$PYTHON" "$TEST" "$CONFIG" "$CHECKPOINT" "$@" --launcher pytorch --check
export MMDWNET_CHECKED=1

if [ -z "${OMP_NUM_THREADS:-}" ]; then
    # Without a GPU, the processes share the cores; torchrun would give one thread to each.
    OMP_NUM_THREADS=$("$PYTHON" -c "import torch
print(1 if torch.cuda.is_available() else max(1, torch.get_num_threads() // $GPUS))")
    export OMP_NUM_THREADS
fi
"$PYTHON" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$GPUS" \
    "$TEST" "$CONFIG" "$CHECKPOINT" "$@" --launcher pytorch
