"""Checkpoints from wherever mmengine takes them, read as data and used as they were read."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from mmengine.fileio import get_file_backend
from mmengine.runner import (
    CheckpointLoader,
    get_deprecated_model_names,
    get_external_models,
    get_mmcls_models,
    get_torchvision_models,
)

from mmdwnet.errors import UserError

from .fetching import fetch
from .reading import read_own
from .releases import SCHEME, load_from_dwnet

_read: dict[tuple, dict] | None = None  # what as_data() has read, while it lasts


def load(path: str) -> dict:
    """Read a checkpoint as data, without running anything in it.

    Args:
        path: A file, an address, or a name in any other of mmengine's schemes.

    Returns:
        The checkpoint, on the CPU. Within `as_data()` the same file gives the same dict.

    Raises:
        UserError: It is missing or corrupt, or holds more than data.
    """
    if _read is None:
        return _load(path)
    file = Path(path).expanduser()
    # A training may write a file again that it started from.
    version = (file.stat().st_mtime_ns, file.stat().st_size) if file.is_file() else None
    if (path, version) not in _read:
        _read[path, version] = _load(path)
    return _read[path, version]


@contextmanager
def as_data() -> Iterator[dict[tuple, dict]]:
    """Have mmengine take every checkpoint from `load`, which reads each file once.

    Schemes that the user has registered stay as they are.

    Yields:
        What has been read so far; clear it to free its memory.
    """
    global _read
    if _read is not None:
        yield _read
        return
    # The only way to learn which schemes there are, and who reads them, is private.
    loaders = {
        prefix: loader
        for prefix, loader in CheckpointLoader._schemes.items()
        if loader.__module__.startswith('mmengine.')
    }
    _read = {}
    try:
        CheckpointLoader.register_scheme(list(loaders), load_from_data, force=True)
        yield _read
    finally:
        _read = None
        for prefix, loader in loaders.items():
            CheckpointLoader.register_scheme(prefix, loader, force=True)


@CheckpointLoader.register_scheme([SCHEME, r'[^:]+\.safetensors$'], force=True)
def load_from_data(filename: str, map_location: object = None) -> dict:
    """Load a checkpoint for mmengine, which has no reader of its own for these two."""
    if _reader(filename) is None:
        raise UserError(f'{filename} has a scheme that cannot be read as data: name a file')
    checkpoint = load(filename)
    # mmengine's Runner would run this as a program, and mmengine itself no longer writes it.
    if isinstance(checkpoint.get('meta'), dict):
        checkpoint['meta'].pop('config', None)
    return checkpoint


def _load(path: str) -> dict:
    reader = _reader(path)
    if reader is not None:
        return reader(path)
    with as_data():  # so that only a scheme which the user registered is read in another way
        return CheckpointLoader.load_checkpoint(path, map_location='cpu')


def _reader(path: str) -> Callable[[str], dict] | None:
    """Return what reads a checkpoint by mmengine's rules for its scheme, or None."""
    scheme, separator, _ = path.partition('://')
    return _READERS.get(scheme.split(':')[-1]) if separator else read_own


def _from_address(address: str, path: str | None = None) -> dict:
    """Download a checkpoint, unless torch hub has it, and read it; messages call it `path`."""
    read = []
    file = fetch(address, lambda part: read.append(read_own(part, path or address)))
    return read[0] if read else read_own(file, path or address)


def _from_zoo(path: str, models: dict[str, str]) -> dict:
    """Read one of the checkpoints that mmengine knows the addresses of."""
    name = path.partition('://')[2]
    if name not in models:
        raise UserError(f'mmengine knows no checkpoint {path}: check its name')
    if '://' in models[name]:
        return _from_address(models[name], path)
    cache = os.getenv('XDG_CACHE_HOME', '~/.cache')
    return read_own(Path(os.getenv('MMENGINE_HOME', f'{cache}/mmengine')) / models[name])


def _from_openmmlab(path: str) -> dict:
    scheme, _, name = path.partition('://')
    name = get_deprecated_model_names().get(name, name)
    return _from_zoo(f'{scheme}://{name}', get_external_models())


def _from_mmcls(path: str) -> dict:
    """Read a classifier's backbone."""
    checkpoint = _from_zoo(path, get_mmcls_models())
    weights = checkpoint.get('state_dict', checkpoint)
    if not isinstance(weights, dict) or not all(isinstance(key, str) for key in weights):
        raise UserError(f'{path} has no state dict: name another checkpoint')
    start = 'backbone.'
    return dict(
        state_dict={k.removeprefix(start): w for k, w in weights.items() if k.startswith(start)}
    )


def _from_store(path: str) -> dict:
    """Read a checkpoint from S3 or Petrel, by mmengine's client, or from Pavi."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / path.rpartition('/')[2]
        try:
            if path.startswith('pavi://'):
                from pavi import modelcloud

                modelcloud.get(path.removeprefix('pavi://')).download(str(file))
            else:
                file.write_bytes(
                    get_file_backend(path, backend_args=dict(backend='petrel')).get(path)
                )
        except ImportError as error:
            raise UserError(
                f'{path} cannot be fetched ({error}): install the client, or name a file'
            ) from error
        return read_own(file, path)


def _from_torchvision(path: str) -> dict:
    return _from_zoo(path, get_torchvision_models())


_READERS: dict[str, Callable[[str], dict]] = {
    'dwnet': load_from_dwnet,
    **dict.fromkeys(('http', 'https'), _from_address),
    'mmcls': _from_mmcls,
    **dict.fromkeys(('open-mmlab', 'openmmlab'), _from_openmmlab),
    **dict.fromkeys(('pavi', 'petrel', 's3'), _from_store),
    **dict.fromkeys(('modelzoo', 'torchvision'), _from_torchvision),
}
