#!/usr/bin/env bash
# Trains in several processes: dist_train.sh CONFIG GPUS [options of train.py]
# On several machines, set NNODES, NODE_RANK, MASTER_ADDR and PORT on each. Without CUDA, GPUS is
# the number of processes on the CPU. When a process dies, all are restarted from the newest
# checkpoint, up to MAX_RESTARTS times (3). SIGTERM, SIGUSR1 and Ctrl-C save and exit with code 75.
set -euo pipefail

if [ $# -lt 2 ]; then
    echo "usage: $0 CONFIG GPUS [options of train.py]" >&2
    exit 2
fi
CONFIG=$1
GPUS=$2
shift 2
PYTHON=${PYTHON:-python}
TRAIN=$(dirname "$0")/train.py

# Here, bad input is reported once; torchrun adds a traceback whenever its processes fail.
LOCAL_WORLD_SIZE=$GPUS "$PYTHON" "$TRAIN" "$CONFIG" "$@" --launcher pytorch --check
export MMDWNET_CHECKED=1

if [ -z "${OMP_NUM_THREADS:-}" ]; then
    # Without a GPU, the processes share the cores; torchrun would give one thread to each.
    OMP_NUM_THREADS=$("$PYTHON" -c "import torch
print(1 if torch.cuda.is_available() else max(1, torch.get_num_threads() // $GPUS))")
    export OMP_NUM_THREADS
fi

# Restarted processes go on from what this run has written. Where that would be of no use, they leave
# their exit code in the file MMDWNET_ENDED: torchrun would restart them.
MMDWNET_STARTED=$(date +%s)
MMDWNET_ENDED=$(mktemp -u)
export MMDWNET_STARTED MMDWNET_ENDED
# With job control, Ctrl-C reaches this script alone.
set -m
"$PYTHON" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$GPUS" \
    --max-restarts="${MAX_RESTARTS:-3}" \
    "$TRAIN" "$CONFIG" "$@" --launcher pytorch &
# Told by torchrun, the processes would be killed after 30 seconds.
stop() {
    # A list of words, so it stays without quotes.
    # shellcheck disable=SC2046
    kill -USR1 $(cat /proc/"$1"/task/*/children) 2>/dev/null || kill -TERM "$1" 2>/dev/null || true
}
trap 'stop $!' TERM INT USR1
CODE=0
while kill -0 $! 2>/dev/null; do
    CODE=0
    wait $! || CODE=$?
done
if [ -e "$MMDWNET_ENDED" ]; then
    CODE=$(cat "$MMDWNET_ENDED")
    rm "$MMDWNET_ENDED"
fi
exit "$CODE"
