"""Files of commands, written whole or not at all."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmdwnet.errors import UserError


@contextmanager
def aside(path: str) -> Iterator[Path]:
    """Yield where to write a file, and move it to its place if nothing failed.

    Args:
        path: The file; missing folders are made.

    Raises:
        UserError: It cannot be written.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f'{target.name}.', dir=target.parent) as folder:
            whole = Path(folder) / target.name
            whole.touch()
            permissions = whole.stat().st_mode
            yield whole
            whole.chmod(permissions)  # some writers let only the owner read
            whole.replace(target)
    except OSError as error:  # such as of a full disk
        raise UserError(
            f'{path} cannot be written: {error.strerror or error}; choose another'
        ) from error
