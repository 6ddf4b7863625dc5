"""Download files into torch hub's cache."""

import os
import sys
import tempfile
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlparse

import torch
from filelock import FileLock

from mmdwnet.errors import UserError


def file_name(url: str) -> str:
    """Return the name of the file behind an address, as torch hub does."""
    return os.path.basename(urlparse(url).path)


def cache_dir() -> Path:
    """Return the folder where torch hub, and so mmengine, keeps checkpoints."""
    return Path(torch.hub.get_dir()) / 'checkpoints'


def fetch(url: str, check: Callable[[Path], object], put: Path | None = None) -> Path:
    """Download a file into torch hub's cache, unless it is there.

    One of several processes downloads while the others wait; the file appears when it is whole.

    Args:
        url: The address.
        check: Called with the downloaded file; raises a UserError to reject it.
        put: The folder to suggest to users without a network; by default the cache.

    Returns:
        The file.

    Raises:
        UserError: It is not there and cannot be downloaded, or `check` rejects it.
    """
    file = cache_dir() / file_name(url)
    if file.is_file():
        return file
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with (
            FileLock(f'{file}.lock'),
            tempfile.TemporaryDirectory(prefix=f'{file.name}.', dir=file.parent) as aside,
        ):
            if not file.is_file():
                part = Path(aside) / file.name
                torch.hub.download_url_to_file(url, str(part), progress=sys.stderr.isatty())
                check(part)
                part.replace(file)
    except UserError:
        raise
    except (OSError, HTTPException, ValueError) as error:  # the last for a malformed address
        raise UserError(
            f'{file.name} is not in {file.parent} and cannot be downloaded ({error}): get {url} '
            f'where there is a network, and put it into {put or file.parent}'
        ) from error
    return file
