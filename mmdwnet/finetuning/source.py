"""The folder or the file that was given, and the files in it."""

import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path, PurePosixPath

from torchvision.datasets.folder import IMG_EXTENSIONS

from mmdwnet.errors import UserError

_SPLITS = {'train': 'train', 'training': 'train', 'test': 'test', 'testing': 'test'}
_SPLITS |= dict.fromkeys(('val', 'valid', 'validation'), 'val')
_MOST_TEXT = 2**26  # bytes of a file that is read as text
_TOLD = 3  # names in one sentence


class Source:
    """The data that were given: their files, and what is noticed while they are read.

    Args:
        path: A folder, or a file that lists images.

    Attributes:
        file: The file, if it is one.
        root: The folder, or the one in which images of the file are looked for.
        faults: Sentences about files that are at fault. They end the run unless they are skipped.
        left_out: How many things of a kind are not used.
        notes: Sentences about what is remarkable.
    """

    def __init__(self, path: Path) -> None:
        path = Path(os.path.abspath(path))
        if not path.exists():
            raise UserError(f'there are no data: {path} does not exist; give a folder or a file')
        self.file = None if path.is_dir() else path
        self.root = path.parent if self.file else path
        if self.file and self.root.name.lower() == 'annotations':
            self.root = self.root.parent
        # Archives often unpack into a folder in a folder.
        while not self.file and len(inner := self.folders(self.root)) == 1:
            files = (one for one in self.root.iterdir() if one.is_file() and one.name[0] != '.')
            if any(files) or split_of(inner[0].name) or not self.folders(inner[0]):
                break
            self.root = inner[0]
        self.faults: list[str] = []
        self.left_out: Counter[str] = Counter()
        self.notes: list[str] = []
        self._unlistable: set[str] = set()

    @cached_property
    def files(self) -> list[Path]:
        """All files below the root, in the same order on each machine."""
        return list(self._below(self.root))

    @cached_property
    def images(self) -> list[Path]:
        """The images among them."""
        return list(filter(is_image, self.files))

    @cached_property
    def _by_stem(self) -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = {}
        for path in self.images:
            found.setdefault(path.stem, []).append(path)
        return found

    def with_suffix(self, *suffixes: str) -> list[Path]:
        """Return the file that was given, or all files, if their suffix is one of these."""
        files = [self.file] if self.file else self.files
        return [path for path in files if path.suffix.lower() in suffixes]

    def folders(self, folder: Path) -> list[Path]:
        """Return the folders in a folder, without hidden ones and those of our own runs."""
        try:
            return sorted(
                path
                for path in folder.iterdir()
                if path.is_dir()
                and not path.name.startswith(('.', '__MACOSX'))
                and not ((path / 'config.py').is_file() and (path / 'lists').is_dir())
            )
        except OSError as error:
            raise UserError(f'the folder {folder} cannot be read: {error.strerror}') from error

    def images_in(self, folder: Path) -> list[Path]:
        """Return the images in a folder, at any depth."""
        return list(filter(is_image, self._below(folder)))

    def name(self, path: Path) -> str:
        """Return the path of a file from the root, which is the same on each machine."""
        return Path(os.path.relpath(path, self.root)).as_posix()

    def split(self, path: Path) -> str:
        """Return the split that the folders of a file tell, the innermost first, or ''."""
        parts = PurePosixPath(self.name(path)).parts[-2::-1]
        return next(filter(None, map(split_of, parts)), '')

    def find_image(self, annotation: Path, split: str, *names: str) -> Path | None:
        """Return the image that an annotation means; if there is none, note that as a fault.

        Args:
            annotation: The file.
            split: Its split.
            *names: What the image may be called. Names may lack the suffix, or lead into the
                folders of another machine.
        """
        found = next(filter(None, (self.look_up(annotation, split, name) for name in names)), None)
        if found is None:
            self.faults.append(
                f'{annotation} names the image {names[0]}, which is not below {self.root}, or is '
                'there several times'
            )
        return found

    def look_up(self, annotation: Path, split: str, name: str) -> Path | None:
        """Return the image of a name, or None if there is none or several are as likely."""
        name = name.replace('\\', '/')
        path = annotation.parent / name
        if is_image(path) and os.path.isfile(path):
            return Path(os.path.normpath(path))
        name = name.strip()
        wanted = PurePosixPath(name)
        found = self._by_stem.get(wanted.stem if is_image(wanted) else wanted.name, [])
        if is_image(wanted):
            found = [path for path in found if path.name == wanted.name]
        fits = [
            (
                path.as_posix().endswith(f'/{name}'),
                self.split(path) == split,
                len(os.path.commonpath((path, annotation))),
            )
            for path in found
        ]
        best = [path for path, fit in zip(found, fits, strict=True) if fit == max(fits)]
        return best[0] if len(best) == 1 else None

    def read_text(self, path: Path) -> str:
        """Return the text of a file.

        Raises:
            UserError: It cannot be read.
        """
        try:
            if path.stat().st_size > _MOST_TEXT:
                raise UserError(f'{path} has more than {_MOST_TEXT >> 20} MB: split it up')
            return path.read_text(encoding='utf-8-sig')
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f'{path} cannot be read ({error}): save it as UTF-8') from error

    def _below(self, folder: Path) -> Iterator[Path]:
        seen = set()  # as links can lead back
        for place, folders, names in os.walk(folder, followlinks=True):
            key = os.stat(place).st_dev, os.stat(place).st_ino
            folders[:] = [] if key in seen else [one.name for one in self.folders(Path(place))]
            for name in [] if key in seen else sorted(names):
                path = os.path.join(place, name)
                if re.search('[\n\r\ud800-\udfff]', path):  # which lists cannot hold
                    self._unlistable.add(path)
                    what = 'files whose names have line breaks or are not UTF-8'
                    self.left_out[what] = len(self._unlistable)
                elif not name.startswith('.'):
                    yield Path(path)
            seen.add(key)


def is_image(path: Path | PurePosixPath) -> bool:
    """Return whether a file has the suffix of an image that the libraries read."""
    return path.suffix.lower() in IMG_EXTENSIONS


def split_of(name: str) -> str:
    """Return the split in a name: 'val' of `instances_val2017`, '' of `trainval`."""
    found = {_SPLITS.get(word, '') for word in re.split('[^a-z]+', name.lower())} - {''}
    return found.pop() if len(found) == 1 else ''


def numbers(values: Iterable) -> list[float]:
    """Return texts or numbers as finite numbers.

    Raises:
        ValueError: One of them is none.
    """
    found = [float(value) for value in values]
    if not all(map(math.isfinite, found)):
        raise ValueError('a number is not finite')
    return found


def named(names: Iterable) -> str:
    """Return the names for a sentence, the first ones if there are many."""
    names = [str(name) for name in names]
    more = f' and {len(names) - _TOLD} more' if len(names) > _TOLD else ''
    return ', '.join(names[:_TOLD]) + more
