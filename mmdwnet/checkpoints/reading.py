"""Read checkpoint files as data: whatever else is in them is refused or replaced, never run.

A checkpoint is a pickle, and a pickle may call any function by its name. torch's weights-only
reader calls only those on a short list: its own, which make tensors, and what is marked as safe.
What a file asks for beyond that is marked for the time of one reading, but as a stand-in.
"""

import io
import logging
import pickletools
import re
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from mmengine.logging import print_log
from safetensors.torch import load_file

from mmdwnet.errors import UserError

from . import stand_ins
from .costs import Storage, check_costs

# What mmengine's checkpoints name: histories of losses, the numpy arrays in them, numpy's numbers.
_MMENGINE: dict[str, Callable] = {
    'builtins.getattr': stand_ins.method,
    'builtins.slice': slice,
    'mmengine.logging.history_buffer.HistoryBuffer': stand_ins.History,
    'numpy.dtype': stand_ins.DType,
    'numpy.ndarray': stand_ins.Array,
    'numpy.core.multiarray._reconstruct': stand_ins.Array,  # numpy 1
    'numpy.core.multiarray.scalar': stand_ins.number,
    'numpy._core.multiarray._reconstruct': stand_ins.Array,  # numpy 2
    'numpy._core.multiarray.scalar': stand_ins.number,
}
_PROGRAMS = {'nt', 'os', 'posix', 'sys'}  # modules of which no data names anything
_ZIP_END = 2**16 + 22  # the longest end of a zip archive
_LOCATOR = struct.Struct('<4sLQL')  # of the end for large archives
_STORAGE = re.compile(r'torch\.(storage\.)?\w+Storage')
_LEGACY_PICKLES = 5  # magic number, version, system, checkpoint, storages
_MOST_STAND_INS = 100  # honest files need few
_SHOWN = 10  # names in a message


def check_exists(path: str | Path) -> None:
    """Check that a local checkpoint exists; one behind a URL is left to what fetches it."""
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
    source = source or str(path)

    def stand_ins_for(names: list[str]) -> dict[str, Callable]:
        if strange := [name for name in names if name not in _MMENGINE]:
            raise UserError(
                f'the checkpoint {source} holds more than data ({strange[0]}), which could run '
                'any program and is not read: save only its weights'
            )
        return _MMENGINE

    return _read(path, source, stand_ins_for)


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
    source = source or str(path)
    replaced: list[str] = []

    def stand_ins_for(names: list[str]) -> dict[str, Callable]:
        if programs := [name for name in names if name.split('.')[0] in _PROGRAMS]:
            raise UserError(
                f'the checkpoint {source} asks for {programs[0]}, so it was made to run a program: '
                'nothing was run; do not use it'
            )
        replaced.extend(names)
        numpy = [name for name in names if name.startswith('numpy.')]
        return dict.fromkeys(names, stand_ins.Nothing) | dict.fromkeys(numpy, stand_ins.Stateful)

    checkpoint = _read(path, source, stand_ins_for)
    if replaced:
        print_log(
            f'{source} names {_some(replaced)}, which no weights need: replaced by inert '
            'stand-ins, nothing was run',
            logger='current',
            level=logging.WARNING,
        )
    return checkpoint, replaced


def _read(
    path: str | Path, source: str, stand_ins_for: Callable[[list[str]], Mapping[str, Callable]]
) -> dict:
    """Read a file with what `stand_ins_for` gives for the names in it."""
    check_exists(path)
    path, names = Path(path).expanduser(), []
    try:
        if path.suffix == '.safetensors':
            return load_file(path)
        pickles, held = _pickles(path, source)
        # More would be slow: the reader looks through all of them at every name.
        names = _names(pickles)[:_MOST_STAND_INS]
        given = stand_ins_for(names)
        storages = check_costs(pickles, path.stat().st_size, source)
        with warnings.catch_warnings(), _safe_globals(given):
            warnings.simplefilter('ignore')  # of pickle protocols and the like
            _check_storages(storages, held)
            read = stand_ins.replace(torch.load(path, map_location='cpu', weights_only=True))
    except UserError:
        raise
    except Exception as error:  # torch raises whatever the bytes happen to lead to
        reason = type(error).__name__
        if set(names) <= set(_MMENGINE):
            raise UserError(
                f'the checkpoint {source} cannot be read, so it is corrupt or not a checkpoint: '
                f'{reason}; copy or train it again'
            ) from error
        raise UserError(
            f'the checkpoint {source} cannot be read without {_some(names)}, which no weights '
            f'need: {reason}; nothing was run; get only its weights'
        ) from error
    if not isinstance(read, dict):
        raise UserError(
            f'{source} is not a checkpoint but a {type(read).__name__}: name one that mmengine '
            'or torch.save(model.state_dict()) wrote'
        )
    return read


def _pickles(path: Path, source: str) -> tuple[list[bytes], dict[str, int | None]]:
    """Return the pickles in a file, and how many bytes each storage has, None if torch checks it.

    Keys are in lower case, as torch does not tell it from upper case in an archive.
    """
    with path.open('rb') as file:
        start = file.read(tarfile.BLOCKSIZE)
        if start.startswith(b'PK\x03\x04'):
            return _pickles_in_archive(path, source)
        try:
            tarfile.TarInfo.frombuf(start, 'utf-8', 'surrogateescape')
        except tarfile.HeaderError:
            pass
        else:
            # torch's own format of 2016 was one, too, which it cannot read as data.
            raise UserError(f'{source} is a tar archive: unpack it, and name the checkpoint in it')
        file.seek(0)
        pickles = []
        for _ in range(_LEGACY_PICKLES):
            begin = file.tell()
            for _ in pickletools.genops(file):  # runs nothing
                pass
            length = file.tell() - begin
            file.seek(begin)
            pickles.append(file.read(length))
        keys = [given for _, given, _ in pickletools.genops(pickles[-1]) if isinstance(given, str)]
        return pickles, {key.lower(): None for key in keys}


def _pickles_in_archive(path: Path, source: str) -> tuple[list[bytes], dict[str, int | None]]:
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
        # So may entries that share their bytes.
        size = sum(max(entry.compress_size, entry.file_size) for entry in entries)
        if size > path.stat().st_size or archive.start_dir != _directory(path):
            raise ValueError('an archive with more in it than it has bytes, or with two contents')
        pickles: list[bytes] = []
        held: dict[str, int | None] = {}
        for entry in entries:
            name = entry.filename.lower()
            if name.endswith('data.pkl'):
                pickles.append(archive.read(entry))
            key, size = name.partition('/data/')[2], entry.file_size
            held[key] = size if held.get(key, size) == size else -1  # which no storage has
        return pickles, held


def _check_storages(storages: Iterable[Storage], held: Mapping[str, int | None]) -> None:
    """Raise a ValueError if a file does not have the numbers that its pickles speak of.

    Older versions of torch take what lies behind them in memory.
    """
    for kind, key, elements in storages:
        # Other objects could have any dtype, and look like any key.
        if not isinstance(key, str) or not _STORAGE.fullmatch(str(kind)):
            raise ValueError('a storage without a key or a class')
        found = getattr(torch, kind.rpartition('.')[2])
        dtype = torch.uint8 if found is torch.UntypedStorage else found.dtype
        key = key.lower()
        if key not in held or held[key] not in (None, elements * dtype.itemsize):
            raise ValueError('a storage of another size than the file has for it')


def _directory(path: Path) -> int:
    """Return where the end of a zip archive says that its contents are listed.

    torch looks for them there; Python looks before the end, wherever that is.
    """
    with path.open('rb') as file:
        file.seek(max(0, path.stat().st_size - _ZIP_END))
        end = file.read()
        found = end.rindex(b'PK\x05\x06')
        (offset,) = struct.unpack_from('<L', end, found + 16)
        locator = end[:found][-_LOCATOR.size :]
        if locator.startswith(b'PK\x06\x07'):
            _, _, where, _ = _LOCATOR.unpack(locator)
            file.seek(where)
            (offset,) = struct.unpack_from('<Q', file.read(56), 48)
    return offset


def _names(pickles: list[bytes]) -> list[str]:
    """Return, sorted, what pickles name that torch does not take for data.

    torch tells it of archives alone. It looks for names in the opcodes one by one, so several
    pickles are as good as one.
    """
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, 'w') as writer:
        writer.writestr('names/data.pkl', b''.join(p.removesuffix(b'.') for p in pickles) + b'.')
        writer.writestr('names/version', '3')
    archive.seek(0)
    with _safe_globals({}):
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(archive))


@contextmanager
def _safe_globals(marked: Mapping[str, Callable]) -> Iterator[None]:
    """Mark nothing else as safe for a while: others may have marked the real thing."""
    others = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        torch.serialization.add_safe_globals(
            [(stand_in, name) for name, stand_in in marked.items()]
        )
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(others)


def _some(names: list[str]) -> str:
    more = f' and {len(names) - _SHOWN} more' if len(names) > _SHOWN else ''
    return ', '.join(names[:_SHOWN]) + more
