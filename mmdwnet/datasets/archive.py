"""Zip archives behind mmengine's file interface: all that loads files loads `zip://ARCHIVE!/PATH`.

Nothing is extracted, so no path in an archive can lead out of it.
"""

import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote, unquote

import numpy as np
import torch
from mmengine.fileio import BaseStorageBackend, register_backend

from mmdwnet.errors import UserError

# A deflated file may be as large as this, and more only if it is not packed much tighter.
_LARGE, _RATIO = 2**24, 200
_LARGEST = 2**40  # of any file, so that sums fit into 64 bits
_PART = 2**12  # names that are looked up at once
_HEADER = struct.Struct('<26x2H')  # before each file; ends with the lengths of its path and extras
_LOCATION = np.dtype(
    [('offset', 'i8'), ('packed_size', 'i8'), ('size', 'i8'), ('crc', 'u4'), ('method', 'u2')]
)


class ZipArchive:
    """The files of a zip archive, for many processes at once.

    zipfile reads the table of contents, which is kept as arrays: ImageNet's takes 0.8 GB as
    zipfile's objects, which each DataLoader worker would copy by counting references. Files are
    read without moving the position in the archive, which forked processes share.

    Args:
        path: Path of the archive.

    Raises:
        UserError: If it is missing, broken, or packed in an unsupported way.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        try:
            with zipfile.ZipFile(self.path) as archive:
                # Of several files with one path, zipfile's dict has the last, which is the rule.
                infos = [info for info in archive.NameToInfo.values() if not info.is_dir()]
            self._open()
        except OSError as error:
            raise UserError(
                f'the archive {path} cannot be read: {error.strerror}; put it there or name another'
            ) from error
        except Exception as error:  # zipfile raises whatever the bytes happen to lead to
            raise UserError(
                f'the archive {path} is broken or is not a zip archive: {error}; copy or '
                'download it again'
            ) from error
        self._check(infos)
        infos.sort(key=lambda info: info.filename.encode())
        self._names = np.array([info.filename.encode() for info in infos], dtype=np.bytes_)
        self._table = np.array(
            [
                (i.header_offset, i.compress_size, i.file_size, i.CRC, i.compress_type)
                for i in infos
            ],
            dtype=_LOCATION,
        )
        self._cached = np.full(len(infos), -1)  # where each file starts in the cache, if it does
        self._cache = torch.empty(0, dtype=torch.uint8)

    def url(self, name: str) -> str:
        """Return the URL by which mmengine reads a file."""
        return f'zip://{quote(self.path)}!/{quote(name)}'

    def name(self, url: str) -> str:
        """Return the path that `url` was given."""
        return unquote(url.partition('!/')[2])

    def has(self, names: Sequence[str]) -> np.ndarray:
        """Return for each path whether the archive has it."""
        return self._rows(names) >= 0

    def read(self, name: str) -> bytes:
        """Read a file, from memory where it is cached.

        Args:
            name: Path inside the archive.

        Returns:
            Its content.

        Raises:
            UserError: If the file is missing or damaged.
        """
        row = int(self._rows([name])[0])
        if row < 0:
            raise UserError(f'the archive {self.path} has no {name}: copy or download it again')
        start = self._cached[row]
        if start < 0:
            return self._read(row)
        return self._cache[start : start + self._table['size'][row]].numpy().tobytes()

    def cache(self, names: Sequence[str]) -> int:
        """Read files into memory as they are, not decoded.

        The memory is one tensor: forked processes share it as long as none writes to it, and torch
        moves it to shared memory for spawned ones.

        Args:
            names: Paths inside the archive, of files that it has.

        Returns:
            The size of everything cached, in bytes.

        Raises:
            UserError: If a file is damaged or does not fit into memory.
        """
        rows = np.unique(self._rows(names))
        rows = rows[self._cached[rows] < 0]
        rows = rows[np.argsort(self._table['offset'][rows])]  # one pass through the archive
        ends = len(self._cache) + np.cumsum(self._table['size'][rows])
        starts = ends - self._table['size'][rows]
        if len(rows):
            try:
                grown = torch.empty(int(ends[-1]), dtype=torch.uint8)
            except RuntimeError as error:
                raise UserError(
                    f'{ends[-1] / 1e9:.3g} GB of {self.path} do not fit into memory: give '
                    "cache='part' and a ShareSampler, or cache='none'"
                ) from error
            grown[: len(self._cache)] = self._cache
            buffer = grown.numpy()
            for row, start, end in zip(rows, starts, ends, strict=True):
                buffer[start:end] = np.frombuffer(self._read(row), dtype=np.uint8)
            self._cache = grown
            self._cached[rows] = starts
        return len(self._cache)

    def _rows(self, names: Sequence[str]) -> np.ndarray:
        """Return the rows of files in the table, -1 for each missing file."""
        if not len(self._names):
            return np.full(len(names), -1)
        # Longer names, cut where they differ from all that are there, take no more memory.
        dtype = f'S{self._names.itemsize + 1}'
        found: list[np.ndarray] = [np.empty(0, dtype=np.int64)]
        for start in range(0, len(names), _PART):
            part = [name.encode() for name in names[start : start + _PART]]
            wanted = np.array(part, dtype=dtype)
            rows = np.searchsorted(self._names, wanted).clip(max=len(self._names) - 1)
            found.append(np.where(self._names[rows] == wanted, rows, -1))
        return np.concatenate(found)

    def _read(self, row: int) -> bytes:
        offset, packed_size, size, crc, method = self._table[row].tolist()
        stored = method == zipfile.ZIP_STORED
        if not stored and size > _LARGE and size > _RATIO * packed_size:
            raise UserError(
                f'{self._names[row].decode()} in the archive {self.path} would be {size / 1e9:.3g} '
                f'GB, made of {packed_size} bytes, so it is not read: pack it again with zip -0'
            )
        try:
            if stored and packed_size != size:
                raise zlib.error('a stored file of two sizes')
            lengths = _HEADER.unpack(self._read_at(offset, _HEADER.size))
            content = self._read_at(offset + _HEADER.size + sum(lengths), packed_size)
            if not stored:  # at most as much as is announced, and one byte
                content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, size + 1)
            damaged = len(content) != size or zlib.crc32(content) != crc
        except (OSError, struct.error, zlib.error):
            damaged = True
        if damaged:
            raise UserError(
                f'the archive {self.path} is broken: {self._names[row].decode()} in it is damaged; '
                'copy or download it again'
            )
        return content

    def _read_at(self, offset: int, size: int) -> bytes:
        """Read `size` bytes, or to the end of the file; network file systems return parts."""
        content = b''
        while part := os.pread(self._file.fileno(), size - len(content), offset + len(content)):
            content += part
        return content

    def _check(self, infos: list[zipfile.ZipInfo]) -> None:
        size = self.stamp[0]
        for info in infos:
            if info.flag_bits & 1:
                kind = 'encrypted'
            elif info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                kind = 'neither stored nor deflated'
            elif stat.S_ISLNK(info.external_attr >> 16):
                kind = 'a link'
            elif info.header_offset + info.compress_size > size or info.file_size > _LARGEST:
                raise UserError(
                    f'the archive {self.path} is broken: {info.filename} would lie beyond its end; '
                    'copy or download it again'
                )
            else:
                continue
            raise UserError(
                f'the archive {self.path} cannot be read: {info.filename} in it is {kind}; pack it '
                'again with zip -0'
            )
        longest = max((len(info.filename.encode()) for info in infos), default=0)
        # The paths are kept at the length of the longest.
        if sum(info.compress_size for info in infos) > size or len(infos) * longest > 16 * size:
            raise UserError(
                f'the archive {self.path} is broken: its files would take more room than it has; '
                'copy or download it again'
            )

    def _open(self) -> None:
        self._file = open(self.path, 'rb', buffering=0)  # noqa: SIM115  # for the archive's life
        self.stamp = _stamp(self._file.fileno())

    def __getstate__(self) -> dict:
        return {key: value for key, value in self.__dict__.items() if key != '_file'}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._open()
        _ARCHIVES[self.path] = self

    def __deepcopy__(self, memo: dict) -> 'ZipArchive':
        return self  # data sets copy themselves, which must not copy the cache


_ARCHIVES: dict[str, ZipArchive] = {}  # those of this process


def _stamp(file: str | int) -> tuple[int, int]:
    """Return size and modification time of a file, which change with it."""
    status = os.stat(file)
    return status.st_size, status.st_mtime_ns


def open_archive(path: str) -> ZipArchive:
    """Open an archive, or return the open one as long as its file does not change.

    Args:
        path: Path of the archive.

    Returns:
        The archive.

    Raises:
        UserError: If it is missing, broken, or packed in an unsupported way.
    """
    if path not in _ARCHIVES or not os.path.isfile(path) or _stamp(path) != _ARCHIVES[path].stamp:
        _ARCHIVES[path] = ZipArchive(path)
    return _ARCHIVES[path]


@register_backend('zip', prefixes='zip')
class ZipBackend(BaseStorageBackend):
    """Reader of `zip://ARCHIVE!/PATH`, the URL that `ZipArchive.url` returns."""

    def get(self, filepath: str) -> bytes:
        """Read a file."""
        path, _, name = filepath.removeprefix('zip://').partition('!/')
        path = unquote(path)
        archive = _ARCHIVES.get(path) or open_archive(path)
        return archive.read(unquote(name))

    def get_text(self, filepath: str, encoding: str = 'utf-8') -> str:
        """Read a text file."""
        return self.get(filepath).decode(encoding)
