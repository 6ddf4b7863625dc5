"""Stand-ins for the commands of Slurm, which need not be installed."""

from pathlib import Path

# Runs up to TASKS tasks on this machine, and writes down what it was asked.
_SRUN = """#!/usr/bin/env bash
printf '%s\\n' "$@" > srun_args
while [[ $1 == -* ]]; do [ "$1" == -p ] && shift; shift; done
export MASTER_ADDR=127.0.0.1 SLURM_NTASKS=${TASKS:-1} SLURM_NTASKS_PER_NODE=${TASKS:-1}
for ((i = 1; i < SLURM_NTASKS; i++)); do
    { SLURM_PROCID=$i SLURM_LOCALID=$i "$@"; echo $? > code$i; } &
done
SLURM_PROCID=0 SLURM_LOCALID=0 "$@"
code=$?
wait
exit $code
"""
# Of `sbatch OPTIONS --wrap COMMAND`.
_SBATCH = """#!/usr/bin/env bash
exec bash -c "${@: -1}"
"""


def write_stand_ins(folder: Path) -> None:
    """Write them into a folder for PATH."""
    folder.mkdir(exist_ok=True)
    for name, script in (('srun', _SRUN), ('sbatch', _SBATCH)):
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)
