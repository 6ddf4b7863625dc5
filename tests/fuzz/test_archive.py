"""Zip archives and maps with bytes changed: read as they were, or refused in a sentence."""

import io
import tempfile
import zipfile
from pathlib import Path

from hypothesis import strategies as st

from mmdwnet.datasets.archive import ZipArchive
from mmdwnet.datasets.imagenet_zip import read_map
from mmdwnet.errors import UserError

from .fuzzing import fuzz

CONTENTS = {'n0/a.JPEG': b'first', 'n0/b.JPEG': b'second' * 100, 'n1/\u00e9.JPEG': b'x' * 5000}
MAP = ''.join(f'{name}\t{i}\n' for i, name in enumerate(CONTENTS)).encode()


def packed(method: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w', method) as archive:
        for name, content in CONTENTS.items():
            archive.writestr(name, content)
    return file.getvalue()


ARCHIVES = {method: packed(method) for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)}
EDITS = st.lists(
    st.tuples(
        st.floats(0, 1),
        st.integers(0, 8),
        st.one_of(st.binary(max_size=8), st.sampled_from([b'PK\1\2', b'PK\5\6', b'\xff' * 4])),
    ),
    min_size=1,
    max_size=6,
)


def edit(content: bytes, edits: list[tuple[float, int, bytes]]) -> bytes:
    """Replace some bytes by others, at places that are parts of the whole."""
    for place, length, put in edits:
        at = int(place * len(content))
        content = content[:at] + put + content[at + length :]
    return content


@fuzz(200, method=st.sampled_from(sorted(ARCHIVES)), edits=EDITS)
def test_archives(method: int, edits: list) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'x.zip'
        path.write_bytes(edit(ARCHIVES[method], edits))
        try:
            archive = ZipArchive(path)
            for name in (name for name in CONTENTS if archive.has([name])[0]):
                # Where all sums are right, it is what was written.
                assert archive.read(name) in CONTENTS.values()
            archive.cache([name for name in CONTENTS if archive.has([name])[0]])
        except UserError as error:
            assert '\n' not in str(error)


@fuzz(200, start=st.one_of(st.just(MAP), st.binary(), st.text().map(str.encode)), edits=EDITS)
def test_maps(start: bytes, edits: list) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'map.txt'
        path.write_bytes(edit(start, edits))
        try:
            names, labels = read_map(str(path), 1000)
        except UserError as error:
            assert '\n' not in str(error)
        else:
            text = path.read_text('utf-8')
            assert len(names) == len(labels) == len(set(names)) > 0
            assert all(f'{name}\t' in text for name in names)
            assert set(labels) <= set(range(1000))
