"""The released weights, which mmengine loads by the name `dwnet://NAME`."""

import hashlib
import os
from pathlib import Path

from torch import Tensor

from mmdwnet.errors import UserError
from mmdwnet.released import RELEASES

from . import fetching, official
from .reading import read_foreign

SCHEME = 'dwnet://'
FOLDER_VARIABLE = 'DWNET_CHECKPOINT_DIR'


def load_from_dwnet(filename: str) -> dict:
    """Load a released checkpoint.

    Its file is looked for in $DWNET_CHECKPOINT_DIR, if set, then in torch hub's cache, and is
    otherwise downloaded into the latter. The hash of the first download is kept beside it.

    Args:
        filename: 'dwnet://NAME', with one of `RELEASES`.

    Returns:
        `state_dict`, with OpenMMLab's keys, and `meta`.

    Raises:
        UserError: There is no such release; its file is not here and cannot be downloaded; or the
            file is truncated, of another model, or not the one that was downloaded first.
    """
    name = filename.removeprefix(SCHEME)
    if name not in RELEASES:
        raise UserError(f'{filename} is not released: choose one of {", ".join(RELEASES)}')
    url = RELEASES[name]
    read: list[dict[str, Tensor]] = []

    def check_download(part: Path) -> None:
        read.append(_read(part, name, url))
        record = fetching.cache_dir() / f'{fetching.file_name(url)}.sha256'
        _check_hash(part, record, url)
        record.write_text(f'{_hash(part)}  {part.name}\n')  # as sha256sum does

    file = _given(url) or fetching.fetch(url, check_download, _folder())
    if not read:
        _check_hash(file, file.with_name(f'{file.name}.sha256'), str(file))
        read.append(_read(file, name, str(file)))
    return dict(state_dict=official.to_mm(read[0]), meta=dict(release=name))


def _hash(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open('rb') as content:
        while block := content.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _check_hash(file: Path, record: Path, source: str) -> None:
    """Refuse a file other than the one that was downloaded first, if one was."""
    if record.is_file() and record.read_text(errors='replace').split()[:1] != [_hash(file)]:
        raise UserError(
            f'{source} is not the file that was downloaded first, whose SHA-256 is in {record}: '
            'find out why it changed, and delete the file and the record to accept a new one'
        )


def _folder() -> Path | None:
    """Return the folder of $DWNET_CHECKPOINT_DIR, if set."""
    given = os.environ.get(FOLDER_VARIABLE)
    if given and not Path(given).is_dir():
        raise UserError(
            f'{FOLDER_VARIABLE}={given} is not a folder: name the one with the released files, or '
            'unset it'
        )
    return Path(given) if given else None


def _given(url: str) -> Path | None:
    folder = _folder()
    file = folder / fetching.file_name(url) if folder else None
    return file if file and file.is_file() else None


def _read(file: Path, name: str, source: str) -> dict[str, Tensor]:
    """Return the weights in a file, in the authors' naming, if they are of the model `name`."""
    try:
        weights = official.weights_of(read_foreign(file, source)[0], source)
        found = official.identify(weights, source).name
    except UserError as error:
        raise UserError(f'{error}; for {SCHEME}{name}, get {RELEASES[name]} again') from error
    if found != name:
        raise UserError(
            f'{source} is {found}, not {name}: for {SCHEME}{name}, get {RELEASES[name]} again'
        )
    return weights
