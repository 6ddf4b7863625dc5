"""Read checkpoint files as data: whatever else is in them is refused or replaced, never run.

A checkpoint is a pickle, and a pickle may call any function by its name. torch's weights-only
reader calls only those on a short list: its own, which make tensors, and what is marked as safe.
What a file asks for beyond that is marked for the time of one reading, but as a stand-in.
"""

import io
import logging
import pickletools
import tarfile
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from mmengine.logging import print_log
from mmengine.runner import CheckpointLoader
from safetensors.torch import load_file

from mmdwnet.errors import UserError

from . import stand_ins

# What mmengine's checkpoints name: histories of losses, the numpy arrays in them, numpy's numbers.
_MMENGINE: dict[str, type] = {
    'builtins.getattr': stand_ins.Method,
    'builtins.slice': slice,
    'mmengine.logging.history_buffer.HistoryBuffer': stand_ins.History,
    'numpy.dtype': stand_ins.NumberType,
    'numpy.ndarray': stand_ins.ArrayType,
    'numpy.core.multiarray._reconstruct': stand_ins.Array,  # numpy 1
    'numpy.core.multiarray.scalar': stand_ins.Number,
    'numpy._core.multiarray._reconstruct': stand_ins.Array,  # numpy 2
    'numpy._core.multiarray.scalar': stand_ins.Number,
}
_PROGRAMS = {'nt', 'os', 'posix', 'sys'}  # modules of which no data names anything
_LEGACY_PICKLES = 5  # magic number, version, system, checkpoint, storages
_MOST_STAND_INS = 100  # the reader looks through all of them at every name; honest files need few
_SHOWN = 10  # names in a message


def check_exists(path: str | Path) -> None:
    """Check that a local checkpoint exists; one behind a URL is left to what fetches it.

    Args:
        path: Path of the checkpoint.

    Raises:
        UserError: It does not exist.
    """
    if '://' not in str(path) and not Path(path).expanduser().is_file():
        raise UserError(f'no checkpoint at {path}: train the model that makes it, or name another')


def read_own(path: str | Path, source: str | None = None) -> dict:
    """Read a checkpoint of mmengine's, or any other that holds only data.

    Args:
        path: The file.
        source: What messages call it; by default `path`.

    Returns:
        The checkpoint, on the CPU, not mapped from the file.

    Raises:
        UserError: It is missing or corrupt, or holds more than data.
    """
    source, path = source or str(path), Path(path).expanduser()
    check_exists(path)
    try:
        names = _names(path, source)
        strange = sorted(set(names) - set(_MMENGINE))
        if not strange:
            return _checkpoint(stand_ins.replace(_load(path, _MMENGINE)), source)
    except UserError:
        raise
    except Exception as error:  # torch raises whatever the bytes happen to lead to
        raise _unreadable(source, error) from error
    raise UserError(
        f'the checkpoint {source} holds more than data ({strange[0]}), which could run any '
        'program and is not read: save only its weights'
    )


def read_foreign(path: str | Path, source: str | None = None) -> tuple[dict, list[str]]:
    """Read a checkpoint that others made, with inert stand-ins for everything that is not data.

    What was replaced is logged as a warning.

    Args:
        path: The file, written by torch.save or (as its suffix says) safetensors.
        source: What messages call it; by default `path`.

    Returns:
        The checkpoint, on the CPU, and the names of what was replaced.

    Raises:
        UserError: It is missing or corrupt, was made to run programs, or is a program itself.
    """
    source, path = source or str(path), Path(path).expanduser()
    check_exists(path)
    replaced: list[str] = []
    try:
        names = _names(path, source)
        for name in names:
            if name.split('.')[0] in _PROGRAMS:
                raise UserError(
                    f'the checkpoint {source} asks for {name}, so it was made to run a program: '
                    'nothing was run; do not use it'
                )
        replaced = names[:_MOST_STAND_INS]
        checkpoint = _load(
            path,
            {
                name: stand_ins.Stateful if name.startswith('numpy.') else stand_ins.Nothing
                for name in replaced
            },
        )
    except UserError:
        raise
    except Exception as error:  # torch raises whatever the bytes happen to lead to
        if replaced:
            raise UserError(
                f'the checkpoint {source} cannot be read without {_some(replaced)}, which no '
                f'weights need: {type(error).__name__}; nothing was run; get only its weights'
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
    """Load weights for mmengine, which has no reader of its own for them.

    Args:
        filename: The file.
        map_location: Unused: the weights are on the CPU, and models copy them from there.

    Returns:
        The state dict.
    """
    return load_file(filename)


def _checkpoint(read: object, source: str) -> dict:
    """Return what was read, if it is a checkpoint."""
    if not isinstance(read, dict):
        raise UserError(
            f'{source} is not a checkpoint but a {type(read).__name__}: name one that mmengine '
            'or torch.save(model.state_dict()) wrote'
        )
    return read


def _unreadable(source: str, error: Exception) -> UserError:
    """Say in one sentence that a checkpoint cannot be read."""
    return UserError(
        f'the checkpoint {source} cannot be read, so it is corrupt or not a checkpoint: '
        f'{type(error).__name__}; copy or train it again'
    )


def _names(path: Path, source: str) -> list[str]:
    """Return, sorted, what a file names that torch does not take for data."""
    if path.suffix == '.safetensors':
        return []
    with path.open('rb') as file:
        zipped = file.read(4) == b'PK\x03\x04'
    if zipped:
        _check_archive(path, source)
        archive = path
    elif tarfile.is_tarfile(path):
        # torch's own format of 2016 was one, too, which it cannot read as data.
        raise UserError(f'{source} is a tar archive: unpack it, and name the checkpoint in it')
    else:
        archive = _archive_of_names(path)
    with _safe_globals({}):
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(archive))


def _check_archive(path: Path, source: str) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    if any(Path(entry.filename).name == 'constants.pkl' for entry in entries):
        raise UserError(
            f'{source} is a TorchScript program, which is not run: name a checkpoint that '
            'torch.save wrote'
        )
    # A few of its bytes may stand for any number, more than there is memory.
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise UserError(
            f'{source} is a compressed archive, which torch does not write: unpack it, and '
            'name the checkpoint in it'
        )


def _archive_of_names(path: Path) -> io.BytesIO:
    """Put the pickles of a file from before torch 1.6 into an archive without tensors.

    Of such archives alone torch tells the names. It looks for them in the opcodes one by one, so
    several pickles are as good as one.
    """
    pickles = b''
    with path.open('rb') as file:
        for _ in range(_LEGACY_PICKLES):
            start = file.tell()
            for _ in pickletools.genops(file):  # runs nothing
                pass
            length = file.tell() - start
            file.seek(start)
            pickles += file.read(length).removesuffix(b'.')
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, 'w') as writer:
        writer.writestr('names/data.pkl', pickles + b'.')
        writer.writestr('names/version', '3')
    archive.seek(0)
    return archive


def _load(path: Path, marked: Mapping[str, type]) -> object:
    """Read a file with nothing marked as safe but stand-ins, by name."""
    if path.suffix == '.safetensors':
        return load_file(path)
    with warnings.catch_warnings(), _safe_globals(marked):
        warnings.simplefilter('ignore')  # of pickle protocols and the like
        return torch.load(path, map_location='cpu', weights_only=True)


@contextmanager
def _safe_globals(marked: Mapping[str, type]) -> Iterator[None]:
    """Mark nothing else as safe for a while: others may have marked the real thing."""
    others = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        torch.serialization.add_safe_globals([(kind, name) for name, kind in marked.items()])
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(others)


def _some(names: list[str]) -> str:
    more = f' and {len(names) - _SHOWN} more' if len(names) > _SHOWN else ''
    return ', '.join(names[:_SHOWN]) + more
