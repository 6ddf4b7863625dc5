"""Checkpoint files read as data: what else is in them is refused or replaced, never run.

A checkpoint is a pickle, and a pickle may call any function by its name. torch's weights-only
reader calls none but those of a short list: its own, which make tensors, and what is marked as
safe. What a file asks for beyond that gets marked here, too, but is a stand-in under that name,
which swallows what it is given.
"""

import logging
import re
import tarfile
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from types import MappingProxyType

import numpy as np
import torch
from mmengine.logging import HistoryBuffer, print_log
from mmengine.runner import CheckpointLoader
from safetensors.torch import load_file

from mmdwnet.errors import UserError

from . import stand_ins

# What mmengine's checkpoints hold beside tensors: histories of losses, which are numpy arrays and
# pickle their methods by name. None of these runs code of the file's choosing.
_multiarray = (np._core if hasattr(np, '_core') else np.core).multiarray  # numpy 2 or 1
_MMENGINE_GLOBALS = [
    getattr,
    HistoryBuffer,
    np.ndarray,
    np.dtype,
    _multiarray._reconstruct,
    _multiarray.scalar,
    *(type(np.dtype(name)) for name in ('float32', 'float64', 'int64', 'uint32')),
]
_MMENGINE_NAMES = [f'{each.__module__}.{each.__qualname__}' for each in _MMENGINE_GLOBALS]
_MMENGINE_STAND_INS: dict[str, type] = {
    'numpy.ndarray': stand_ins.OnlyNamed,
    **{name: stand_ins.NumberType for name in _MMENGINE_NAMES if 'dtype' in name},
}
_MOST_STAND_INS = 100  # each takes one more reading; honest files need a few
_SHOWN = 10  # names in a message


def check_exists(path: str | Path) -> None:
    """Looks for a checkpoint; those behind a URL are left to what fetches them.

    Args:
        path: Of the checkpoint.

    Raises:
        UserError: There is none.
    """
    if '://' not in str(path) and not Path(path).is_file():
        raise UserError(f'no checkpoint at {path}: train the model that makes it, or name another')


def read_own(path: str | Path, source: str | None = None) -> dict:
    """Reads a checkpoint of mmengine's, or any other of nothing but data.

    Args:
        path: The file, or a URL of one of mmengine's schemes, which reads it in its own way.
        source: What messages call it; by default `path`.

    Returns:
        The checkpoint, on the CPU.

    Raises:
        UserError: It is missing or corrupt, or holds more than data.
    """
    source = source or str(path)
    check_exists(path)
    # mmengine 0.10.7 reads with torch's default, which from torch 2.6 on refuses its own histories;
    # later versions fall back to running what a pickle asks for. Hence local files are read here
    # first, as data. (Later versions also take their own list back after a reading, so this stays
    # beside it.)
    torch.serialization.add_safe_globals(_MMENGINE_GLOBALS)
    names: list[str] = []
    try:
        if '://' in str(path):
            checkpoint = CheckpointLoader.load_checkpoint(path, map_location='cpu')
        else:
            checkpoint = _read_inert(Path(path), source, names, _MMENGINE_STAND_INS)
    except UserError:
        raise
    except Exception as error:  # torch raises whatever the bytes happen to lead to
        if refused := re.search(r'GLOBAL (\S+)', str(error)):
            names.append(refused[1])
        elif set(names) <= set(_MMENGINE_NAMES):
            raise _unreadable(source, error) from error
    strange = [name for name in names if name not in _MMENGINE_NAMES]
    if strange:
        raise UserError(
            f'the checkpoint {source} holds more than data ({strange[0]}), which could run any '
            'program and is not read: save its weights alone'
        )
    return _checkpoint(checkpoint, source)


def read_foreign(path: str | Path, source: str | None = None) -> tuple[dict, list[str]]:
    """Reads a checkpoint that others made; what is no data in it becomes an inert stand-in.

    What was replaced is logged as a warning.

    Args:
        path: The file, written by torch.save or (as its ending says) safetensors.
        source: What messages call it; by default `path`.

    Returns:
        The checkpoint, on the CPU, and the names of what was replaced. Large tensors are mapped
        from the file, so it has to stay as it is while they are in use.

    Raises:
        UserError: It is missing, corrupt, made to run programs, or a program itself.
    """
    source = source or str(path)
    check_exists(path)
    replaced: list[str] = []
    try:
        checkpoint = _read_inert(Path(path), source, replaced)
    except UserError:
        raise
    except Exception as error:  # torch raises whatever the bytes happen to lead to
        blocked = re.search(r'GLOBAL (\S+) whose module', str(error))
        if blocked:
            raise UserError(
                f'the checkpoint {source} asks for {blocked[1]}, so it was made to run a program: '
                'nothing was run; do not use it'
            ) from error
        if replaced:
            raise UserError(
                f'the checkpoint {source} cannot be read without {_some(replaced)}, which no '
                f'weights need: {_reason(error)}; nothing was run; get its weights alone'
            ) from error
        raise _unreadable(source, error) from error
    if replaced:
        print_log(
            f'{source} names {_some(replaced)}, which no weights need: replaced by inert '
            'stand-ins, nothing was run',
            logger='current',
            level=logging.WARNING,
        )
    return _checkpoint(checkpoint, source), replaced


@CheckpointLoader.register_scheme(r'[^:]+\.safetensors$', force=True)
def load_from_safetensors(filename: str, map_location: object = None) -> dict:
    """Loads weights for mmengine, which otherwise needs a torch that knows safetensors.

    Args:
        filename: The file.
        map_location: Not used: the weights are on the CPU, from where models copy them.

    Returns:
        The state dict.
    """
    return load_file(filename)


def _checkpoint(read: object, source: str | Path) -> dict:
    """Returns what was read, if it is a checkpoint."""
    if not isinstance(read, dict):
        raise UserError(
            f'{source} is no checkpoint, but a {type(read).__name__}: name one that mmengine '
            'or torch.save(model.state_dict()) wrote'
        )
    return read


def _unreadable(source: str | Path, error: Exception) -> UserError:
    """Says in one sentence that a checkpoint cannot be read."""
    return UserError(
        f'the checkpoint {source} cannot be read, so it is corrupt or no checkpoint: '
        f'{_reason(error)}; copy or train it anew'
    )


def _reason(error: Exception) -> str:
    """Returns what torch's many lines come down to."""
    found = re.search(r'WeightsUnpickler error:\s+(.+)', str(error))
    return f'{type(error).__name__}{f", {found[1]}" if found else ""}'


def _check_container(path: Path, source: str) -> bool:
    """Refuses what torch would treat as a program; returns whether the file is torch's zip."""
    with path.open('rb') as file:
        zipped = file.read(4) == b'PK\x03\x04'
    if zipped:
        entries = zipfile.ZipFile(path).infolist()
        # torch before 2.6 runs such archives even where it is asked for weights only.
        if any(Path(entry.filename).name == 'constants.pkl' for entry in entries):
            raise UserError(
                f'{source} is a TorchScript program, which is not run: name a checkpoint that '
                'torch.save wrote'
            )
        # Tensors are mapped from the file as they lie there.
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise UserError(
                f'{source} is a compressed archive, which torch does not write: unpack it, and '
                'name the checkpoint in it'
            )
    elif tarfile.is_tarfile(path):
        # torch's own format of 2016 was one, too, which it cannot read as data.
        raise UserError(f'{source} is a tar archive: unpack it, and name the checkpoint in it')
    return zipped


def _read_inert(
    path: Path,
    source: str,
    replaced: list[str],
    kinds: Mapping[str, type] = MappingProxyType({}),
) -> object:
    """Reads a file as data.

    Args:
        path: The file.
        source: What messages call it.
        replaced: Gets the names of what had to be replaced, even if the reading fails.
        kinds: Stand-ins that look at what they swallow, by name.

    Returns:
        What is in the file.

    Raises:
        UserError: It is a program, or packed.
        Exception: Whatever torch raises.
    """
    if path.suffix == '.safetensors':
        return load_file(path)
    mmap = _check_container(path, source)
    while True:
        made = [stand_ins.make(name, kinds.get(name, stand_ins.Swallow)) for name in replaced]
        try:
            with warnings.catch_warnings(), _safe_globals(made):
                warnings.simplefilter('ignore')  # of pickle protocols and the like
                return torch.load(path, map_location='cpu', weights_only=True, mmap=mmap)
        except UnpicklingError as error:
            refused = re.search(r'Unsupported global: GLOBAL (\S+) was not', str(error))
            if not refused or len(replaced) == _MOST_STAND_INS:
                raise
            # torch says `eval` for `builtins.eval`.
            name = refused[1] if '.' in refused[1] else f'builtins.{refused[1]}'
            if name in replaced:
                raise
            replaced.append(name)


@contextmanager
def _safe_globals(marked: Iterable[type]) -> Iterator[None]:
    """Marks nothing else as safe, either: others may have marked the real thing."""
    others = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(list(marked))
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(others)


def _some(names: list[str]) -> str:
    more = f' and {len(names) - _SHOWN} more' if len(names) > _SHOWN else ''
    return ', '.join(names[:_SHOWN]) + more
