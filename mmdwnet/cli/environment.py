"""The processes a command runs in: how many there are, and how they find each other."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import all_gather_object, get_rank, init_dist
from mmengine.utils.dl_utils import set_multi_processing
from torch import distributed

from mmdwnet.errors import UserError

# The variables in which each launcher passes rank, world size, local rank and local world size.
_VARIABLES = {
    'pytorch': ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'LOCAL_WORLD_SIZE'),
    'slurm': ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID', 'SLURM_NTASKS_PER_NODE'),
    'mpi': (
        'OMPI_COMM_WORLD_RANK',
        'OMPI_COMM_WORLD_SIZE',
        'OMPI_COMM_WORLD_LOCAL_RANK',
        'OMPI_COMM_WORLD_LOCAL_SIZE',
    ),
}
LAUNCHERS = ('none', *_VARIABLES)
# Set by tools/dist_*.sh once they have run the command with --check.
CHECKED = 'MMDWNET_CHECKED'
# Set by tools/dist_train.sh: when it started, and the file for the exit code of a run that must not
# be restarted.
STARTED = 'MMDWNET_STARTED'
ENDED = 'MMDWNET_ENDED'


def local_processes(launcher: str, environment: Mapping[str, str]) -> int | None:
    """Return how many processes a launcher starts on this machine, or None if it does not tell."""
    if launcher == 'none':
        return 1
    given = environment.get(_VARIABLES[launcher][3])
    if given is None:
        return None
    if not given.isdecimal() or int(given) < 1:
        raise UserError(f'the number of processes is {given!r}: give 1 or more')
    return int(given)


def check_processes(launcher: str, environment: Mapping[str, str], gpus: int) -> None:
    """Refuse more processes than there are GPUs, if there are any."""
    processes = local_processes(launcher, environment)
    # slurm can give each task GPUs that the other tasks do not see.
    if gpus and launcher != 'slurm' and processes is not None and processes > gpus:
        raise UserError(
            f'{processes} processes were asked for, but this machine shows {gpus} GPU(s): start '
            f'at most {gpus}, or set CUDA_VISIBLE_DEVICES= to run on the CPU'
        )


def checks_files(launcher: str) -> bool:
    """Return whether this process is the one on its machine that checks data and folders."""
    if launcher == 'none':
        return True
    return CHECKED not in os.environ and os.environ.get(_VARIABLES[launcher][2], '0') == '0'


def restarted_since() -> float | None:
    """Return when the run began that torchrun has restarted this process in, or None.

    Returns:
        Seconds since the epoch.
    """
    if os.environ.get('TORCHELASTIC_RESTART_COUNT', '0') == '0' or STARTED not in os.environ:
        return None
    return float(os.environ[STARTED])


def ended() -> bool:
    """Return whether the run that torchrun has restarted this process in ended for good."""
    return ENDED in os.environ and Path(os.environ[ENDED]).exists()


def leave_end(code: int) -> bool:
    """Tell tools/dist_train.sh how the run ended for good; return False if it has not asked."""
    if ENDED not in os.environ:
        return False
    Path(os.environ[ENDED]).write_text(str(code))
    return True


def adapt(cfg: Config) -> None:
    """Adapt a config in place to this machine: without CUDA, several processes use gloo."""
    if cfg.launcher == 'none' or torch.cuda.is_available():
        return
    cfg.sync_bn = None
    cfg.model_wrapper_cfg = dict(
        type='MMDistributedDataParallel',
        device_ids=None,
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )


@contextmanager
def processes(launcher: str, env_cfg: Mapping | None = None) -> Iterator[None]:
    """Connect this process with the others within the context.

    Args:
        launcher: One of `LAUNCHERS`.
        env_cfg: mmengine's config of the environment, of which `mp_cfg` and `dist_cfg` are used.

    Raises:
        UserError: The launcher did not start this process.
    """
    if launcher != 'none':
        _connect(launcher, env_cfg or {})
    try:
        yield
        if distributed.is_initialized() and distributed.get_backend() == 'gloo':
            # The threads of gloo need the interpreter to let go of a broadcast's tensors. One that
            # still waits for it when Python ends would abort the process; they get it here.
            distributed.barrier()
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()


@contextmanager
def agreement() -> Iterator[None]:
    """Exit from all processes if bad input is found in one; the first to find it reports it."""
    error = None
    try:
        yield
    except UserError as found:
        error = found
    failed = all_gather_object(error is not None)
    if error is not None and failed.index(True) == get_rank():
        raise error
    if any(failed):
        sys.exit(2)


def _connect(launcher: str, env_cfg: Mapping) -> None:
    rank, world_size, local_rank = (_read(name) for name in _VARIABLES[launcher][:3])
    dist_cfg = dict(env_cfg.get('dist_cfg', {}))
    if not torch.cuda.is_available():
        # mmengine would ask for CUDA.
        os.environ['LOCAL_RANK'] = local_rank
        _find_master(launcher)
        timeout = dist_cfg.get('timeout')  # in seconds, as mmengine takes it
        distributed.init_process_group(
            'gloo',
            timeout=timedelta(seconds=timeout) if timeout else None,
            **_place(rank, world_size),
        )
        return
    if launcher == 'pytorch' and dist_cfg.get('init_backend', 'torch') == 'torch':
        dist_cfg.update(_place(rank, world_size))
    set_multi_processing(**env_cfg.get('mp_cfg', {}), distributed=True)
    if launcher == 'slurm':
        # mmengine takes it for the number of the GPU, but a task may see only GPUs of its own.
        os.environ['SLURM_LOCALID'] = str(int(local_rank) % torch.cuda.device_count())
    init_dist(launcher, **dist_cfg)
    if launcher == 'slurm':
        os.environ['SLURM_LOCALID'] = local_rank


def _place(rank: str, world_size: str) -> dict[str, Any]:
    """Return a process's place in its group, and where the group meets."""
    store, *_ = next(distributed.rendezvous('env://', int(rank), int(world_size)))
    # Processes that torchrun has restarted must not read what those before them have stored.
    start = os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')
    store = distributed.PrefixStore(f'start {start}', store)
    return dict(store=store, rank=int(rank), world_size=int(world_size))


def _read(name: str) -> str:
    if name not in os.environ:
        raise UserError(
            f'the launcher has not set {name}: start through tools/dist_train.sh, '
            'tools/dist_test.sh or their slurm counterparts, or leave --launcher out'
        )
    return os.environ[name]


def _find_master(launcher: str) -> None:
    """Set MASTER_ADDR and MASTER_PORT where they are not set, as mmengine does with CUDA."""
    os.environ.setdefault('MASTER_PORT', '29500')
    if launcher == 'slurm' and 'MASTER_ADDR' not in os.environ:
        nodes = ['scontrol', 'show', 'hostnames', _read('SLURM_NODELIST')]
        names = subprocess.run(nodes, check=True, capture_output=True, text=True).stdout
        os.environ['MASTER_ADDR'] = names.split()[0]
    _read('MASTER_ADDR')
