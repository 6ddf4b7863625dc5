"""The processes a command runs in: how many there are, and how they find each other."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from mmengine.config import Config
from torch import distributed

from mmdwnet.errors import UserError

# Where each launcher tells: rank, number of processes, rank and number on this machine.
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
SYNC_BNS = ('SyncBN', 'SyncBatchNorm', 'MMSyncBN')


def local_processes(launcher: str, environment: Mapping[str, str]) -> int | None:
    """Reads how many processes a launcher starts on this machine.

    Args:
        launcher: One of `LAUNCHERS`.
        environment: Environment variables.

    Returns:
        The number, or None where the launcher does not tell.

    Raises:
        UserError: The number is none.
    """
    if launcher == 'none':
        return 1
    given = environment.get(_VARIABLES[launcher][3])
    if given is None:
        return None
    if not given.isdecimal() or int(given) < 1:
        raise UserError(f'the number of processes is {given!r}: give 1 or more')
    return int(given)


def check_processes(processes: int | None, gpus: int) -> None:
    """Refuses more processes than there are GPUs for.

    Args:
        processes: Number of processes on this machine, or None if unknown.
        gpus: Number of GPUs on this machine; 0 means that all run on the CPU.

    Raises:
        UserError: There are GPUs, but too few.
    """
    if gpus and processes is not None and processes > gpus:
        raise UserError(
            f'{processes} processes were asked for, but this machine shows {gpus} GPU(s): start '
            f'at most {gpus}, or set CUDA_VISIBLE_DEVICES= to run on the CPU'
        )


def replace_sync_bn(node: object) -> None:
    """Makes each SyncBN of a config a BN, as SyncBN cannot run on the CPU.

    Args:
        node: The config or a part of it; changed in place.
    """
    if isinstance(node, dict):
        if node.get('type') in SYNC_BNS:
            node['type'] = 'BN'
        node = list(node.values())
    if isinstance(node, list | tuple):
        for child in node:
            replace_sync_bn(child)


def adapt(cfg: Config) -> None:
    """Makes a config fit for this machine: without CUDA, several processes use gloo.

    Args:
        cfg: The config with its `launcher`; changed in place.
    """
    if cfg.launcher == 'none' or torch.cuda.is_available():
        return
    replace_sync_bn(cfg.model)
    cfg.sync_bn = None
    cfg.model_wrapper_cfg = dict(
        type='MMDistributedDataParallel',
        device_ids=None,
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )


@contextmanager
def processes(launcher: str) -> Iterator[None]:
    """Connects this process with the others for as long as the context lasts.

    mmengine does so itself where there is CUDA; without, it would ask for CUDA all the same.

    Args:
        launcher: One of `LAUNCHERS`.

    Raises:
        UserError: The launcher did not start this process.
    """
    if launcher != 'none':
        rank, world_size, local_rank = (_read(name) for name in _VARIABLES[launcher][:3])
        if not torch.cuda.is_available():
            os.environ['LOCAL_RANK'] = local_rank
            _find_master(launcher)
            distributed.init_process_group('gloo', rank=int(rank), world_size=int(world_size))
    try:
        yield
        if distributed.is_initialized() and distributed.get_backend() == 'gloo':
            # The threads of gloo need the interpreter to let go of a broadcast's tensors. One that
            # still waits for it when Python ends would abort the process; they get it here.
            distributed.barrier()
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()


def _read(name: str) -> str:
    if name not in os.environ:
        raise UserError(
            f'the launcher has not set {name}: start through tools/dist_train.sh, '
            'tools/dist_test.sh or their slurm counterparts, or leave --launcher out'
        )
    return os.environ[name]


def _find_master(launcher: str) -> None:
    """Sets MASTER_ADDR and MASTER_PORT where they are not, as mmengine does with CUDA."""
    os.environ.setdefault('MASTER_PORT', '29500')
    if launcher == 'slurm' and 'MASTER_ADDR' not in os.environ:
        nodes = ['scontrol', 'show', 'hostnames', _read('SLURM_NODELIST')]
        names = subprocess.run(nodes, check=True, capture_output=True, text=True).stdout
        os.environ['MASTER_ADDR'] = names.split()[0]
    _read('MASTER_ADDR')
