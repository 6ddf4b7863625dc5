import copy
import io
import multiprocessing
import os
import pickle
import random
import re
import resource
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from mmengine import fileio

from mmdwnet.datasets.archive import ZipArchive, open_archive
from mmdwnet.errors import UserError

from ..bounds import in_child

CONTENTS = {
    'n0/a.JPEG': b'first',
    'n0/b b%20#?.JPEG': b'second' * 100,
    'wow!/://\u00e9.JPEG': b'',
    '../../up.JPEG': b'up',
    '/etc/absolute.JPEG': b'absolute',
}


def make(path: Path, contents: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, 'w', method) as archive:
        archive.writestr('n0/', b'')
        for name, content in contents.items():
            archive.writestr(name, content)
    return path


def refusal(call: Callable[..., object], *args: object) -> str:
    with pytest.raises(UserError) as error:
        call(*args)
    return str(error.value)


@pytest.mark.parametrize('method', [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_files_are_read_by_url_wherever_their_names_lead(tmp_path: Path, monkeypatch, method):
    (tmp_path / 'in!' / 'here').mkdir(parents=True)
    monkeypatch.chdir(tmp_path / 'in!' / 'here')
    make(tmp_path / 'in!' / 'x y.zip', CONTENTS, method)
    before = sorted(tmp_path.rglob('*'))
    for path in (str(tmp_path / 'in!' / 'x y.zip'), '../x y.zip'):
        archive = ZipArchive(path)
        assert archive.has([*CONTENTS, 'n0/', 'n0', 'n0/a.JPE', 'n0/a.JPEGX', '']).tolist() == (
            [True] * len(CONTENTS) + [False] * 5
        )
        urls = {name: archive.url(name) for name in CONTENTS}
        assert {name: fileio.get(url) for name, url in urls.items()} == CONTENTS
        assert [archive.name(url) for url in urls.values()] == list(CONTENTS)
        assert fileio.get_text(urls['n0/a.JPEG']) == 'first'
    assert sorted(tmp_path.rglob('*')) == before


def test_of_files_with_one_name_the_last_is_read(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / 'x.zip', 'w') as archive:
        archive.writestr('a', 'old')
        with pytest.warns(UserWarning, match='Duplicate name'):
            archive.writestr('a', 'new')
    assert ZipArchive(tmp_path / 'x.zip').read('a') == b'new'


def test_forked_processes_read_at_the_same_time(tmp_path: Path):
    # With one position in the file for all of them, one or the other would read astray.
    contents = {f'{i}': bytes([i]) * 50 for i in range(100)}
    archive = ZipArchive(make(tmp_path / 'x.zip', contents))
    context = multiprocessing.get_context('fork')
    start = context.Barrier(4)

    def read_all() -> None:
        start.wait()
        for _ in range(200):
            for name, content in contents.items():
                assert archive.read(name) == content

    processes = [context.Process(target=read_all) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4


def test_an_archive_that_changes_is_read_anew(tmp_path: Path):
    path = str(make(tmp_path / 'x.zip', {'a': b'1'}))
    first = open_archive(path)
    assert open_archive(path) is first
    make(tmp_path / 'x.zip', {'a': b'22', 'b': b'3'})
    assert open_archive(path).read('a') == b'22'
    (tmp_path / 'x.zip').unlink()
    assert 'No such file' in refusal(open_archive, path)


def test_what_is_cached_needs_no_archive(tmp_path: Path):
    path = make(tmp_path / 'x.zip', CONTENTS, zipfile.ZIP_DEFLATED)
    archive = ZipArchive(path)
    first, *others = CONTENTS
    assert archive.cache([first]) == len(CONTENTS[first])
    assert archive.cache([]) == len(CONTENTS[first])
    assert archive.cache([*others[:2], first]) == sum(len(CONTENTS[n]) for n in list(CONTENTS)[:3])
    path.write_bytes(b'?' * path.stat().st_size)
    for each in (archive, pickle.loads(pickle.dumps(archive)), copy.deepcopy(archive)):
        assert [each.read(name) for name in (first, *others[:2])] == list(CONTENTS.values())[:3]
        assert f'{others[2]} in it is damaged' in refusal(each.read, others[2])
    # Data sets are copied now and then; their memory must not be.
    assert copy.deepcopy(archive) is archive


def test_more_than_fits_into_memory_is_refused(tmp_path: Path):
    path = make(tmp_path / 'x.zip', {str(i): b'' for i in range(1000)}, zipfile.ZIP_DEFLATED)
    content = bytearray(path.read_bytes())
    for entry in re.finditer(b'PK\1\2', content):
        content[entry.start() + 24 : entry.start() + 28] = b'\xfe\xff\xff\xff'  # unpacked: 4 GB
    path.write_bytes(content)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (2**40, limits[1]))
    try:
        said = refusal(ZipArchive(path).cache, [str(i) for i in range(1000)])
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    assert said.startswith(f"4.29e+03 GB of {path} do not fit into memory: give cache='part'")


@pytest.mark.parametrize('content', [b'', b'no archive\n' * 100, None])
def test_no_archive_is_refused(tmp_path: Path, content: bytes | None):
    path = tmp_path / 'x.zip'
    if content is not None:
        path.write_bytes(content)
    else:
        path.mkdir()
    said = refusal(ZipArchive, path)
    assert said.startswith(f'the archive {path} {"is broken" if path.is_file() else "cannot"}')


def test_a_missing_archive_or_file_is_refused(tmp_path: Path):
    assert 'nowhere.zip cannot be read: No such file' in refusal(
        fileio.get, f'zip://{tmp_path}/nowhere.zip!/a'
    )
    path = make(tmp_path / 'x.zip', {})
    assert 'has no a: ' in refusal(fileio.get, ZipArchive(path).url('a'))


def test_unusual_packing_is_refused(tmp_path: Path):
    path = make(tmp_path / 'x.zip', CONTENTS, zipfile.ZIP_BZIP2)
    assert f'{next(iter(CONTENTS))} in it is neither stored nor' in refusal(ZipArchive, path)
    content = bytearray(make(path, {'a': b'1'}).read_bytes())
    content[content.rindex(b'PK\1\2') + 8] |= 1  # a flag in the last entry of the contents
    path.write_bytes(content)
    assert 'a in it is encrypted' in refusal(ZipArchive, path)


def test_a_file_that_comes_in_parts_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # Network file systems may give fewer bytes than asked for; none here does.
    archive = ZipArchive(make(tmp_path / 'x.zip', CONTENTS))
    pread = os.pread
    monkeypatch.setattr(os, 'pread', lambda file, size, at: pread(file, min(size, 7), at))
    assert {name: archive.read(name) for name in CONTENTS} == CONTENTS


def test_a_truncated_archive_is_refused(tmp_path: Path):
    path = make(tmp_path / 'x.zip', CONTENTS)
    content = path.read_bytes()
    for size in range(0, len(content), 7):
        path.write_bytes(content[:size])
        assert f'the archive {path} is broken' in refusal(ZipArchive, path)


def test_damage_is_never_taken_for_content(tmp_path: Path):
    path = make(tmp_path / 'x.zip', CONTENTS, zipfile.ZIP_DEFLATED)
    content = path.read_bytes()
    chance = random.Random(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(content)
        if chance.random() < 0.5:
            damaged[chance.randrange(len(content))] = chance.randrange(256)
        else:
            start = chance.randrange(len(content))
            del damaged[start : start + chance.randrange(50)]
        path.write_bytes(damaged)
        try:
            archive = ZipArchive(path)
            names = [name for name in CONTENTS if archive.has([name])]
            refused += len(names) < len(CONTENTS)
            for name in names:
                assert archive.read(name) == CONTENTS[name]
        except UserError:
            refused += 1
    assert refused > 150


def changed(content: bytes, offset: int, form: str, *values: int, last: bool = True) -> bytes:
    """An archive with other values in the last entry of its contents, or in its end."""
    made = bytearray(content)
    struct.pack_into(form, made, made.rindex(b'PK\1\2' if last else b'PK\5\6') + offset, *values)
    return bytes(made)


def shared(content: bytes, count: int, name: str = '') -> bytes:
    """An archive with many more entries for the bytes of its last one."""
    start, end = content.rindex(b'PK\1\2'), content.rindex(b'PK\5\6')
    (first,) = struct.unpack_from('<L', content, end + 16)
    fixed = content[start : start + 46]
    entries = content[first:end]
    for i in range(count):
        path = f'{i:06}{name if i == 0 else ""}'.encode()
        entries += fixed[:28] + struct.pack('<3H', len(path), 0, 0) + fixed[34:] + path
    made = content[:first] + entries + content[end:]
    number = entries.count(b'PK\1\2') % 2**16
    return changed(made, 8, '<2H2L', number, number, len(entries), first, last=False)


def zip64(content: bytes, size: int) -> bytes:
    """An archive whose last file has a size of 64 bits."""
    start, end = content.rindex(b'PK\1\2'), content.rindex(b'PK\5\6')
    extra = struct.pack('<2HQ', 1, 8, size)
    made = bytearray(content[:end] + extra + content[end:])
    struct.pack_into('<L', made, start + 24, 2**32 - 1)
    struct.pack_into('<H', made, start + 30, len(extra))
    (length,) = struct.unpack_from('<L', content, end + 12)
    return changed(bytes(made), 12, '<L', length + len(extra), last=False)


LINK = zipfile.ZipInfo('link')
LINK.external_attr = 0o120777 << 16
BOMB = {'bomb': bytes(10**9)}
SMALL = {'a': b'1' * 1000, 'b': b'2' * 1000}
# What is done to an archive of `SMALL`, and what is said of it.
HOSTILE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    'a bomb': (
        lambda _: packed(BOMB, zipfile.ZIP_DEFLATED),
        'bomb in the archive .* would be 1 GB',
    ),
    'a bomb of bombs': (
        lambda _: shared(packed({'b': bytes(10**6)}, zipfile.ZIP_DEFLATED), 10_000),
        'would take more room than it has',
    ),
    'files that share their bytes': (
        lambda content: shared(content, 10_000),
        'would take more room than it has',
    ),
    'one long path among many': (
        lambda content: shared(changed(content, 20, '<2L', 0, 0), 20_000, 'x' * 60_000),
        'would take more room than it has',
    ),
    'a link': (lambda _: packed({LINK: b'/etc/passwd'}), 'link in it is a link'),
    'an encrypted file': (lambda content: changed(content, 8, '<H', 1), 'b in it is encrypted'),
    'a file larger than its bytes': (lambda content: changed(content, 24, '<L', 2**31), 'damaged'),
    'a file smaller than its bytes': (lambda content: changed(content, 24, '<L', 1), 'damaged'),
    'a file with more bytes than the archive': (
        lambda content: changed(content, 20, '<L', 2**31),
        'beyond its end',
    ),
    'a file beyond the archive': (
        lambda content: changed(content, 42, '<L', 2**31),
        'beyond its end',
    ),
    'a file in the middle of another': (
        lambda content: changed(content, 42, '<L', 40),
        'damaged',
    ),
    'a file of 2**64 bytes': (lambda content: zip64(content, 2**64 - 1), 'beyond its end'),
    'a file of 2**62 bytes': (lambda content: zip64(content, 2**62), 'beyond its end'),
    'a large file without its size': (
        lambda content: changed(content, 24, '<L', 2**32 - 1),
        'b in it is damaged',
    ),
    'a name that is not UTF-8': (
        lambda content: changed(content, 8, '<H', 2**11)[:-23] + b'\xff' + content[-22:],
        'is broken or is not a zip archive',
    ),
    'contents beyond the archive': (
        lambda content: changed(content, 16, '<L', 2**31, last=False),
        'a in it is damaged',
    ),
    'contents larger than the archive': (
        lambda content: changed(content, 12, '<L', 2**31, last=False),
        'is broken or is not a zip archive',
    ),
    'data behind the archive': (
        lambda content: content + bytes(2**17),
        'is broken or is not a zip archive',
    ),
}


def packed(contents: dict, method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w', method) as archive:
        for name, content in contents.items():
            archive.writestr(name, content, compresslevel=1)
    return file.getvalue()


@pytest.mark.parametrize('kind', HOSTILE)
def test_hostile_archives_are_refused(tmp_path: Path, kind: str):
    path = tmp_path / 'x.zip'
    change, wanted = HOSTILE[kind]
    path.write_bytes(change(packed(SMALL)))

    def read() -> str:
        try:
            archive = ZipArchive(path)
            for name in ('a', 'b', 'bomb'):
                if archive.has([name])[0]:
                    archive.read(name)
                    archive.cache([name])
        except UserError as error:
            return str(error)
        return 'everything was read'

    outcome = in_child(read)
    assert re.search(wanted, str(outcome.said)), outcome
    assert str(path) in outcome.said and '\n' not in outcome.said
    assert outcome.bytes < 2**28 and outcome.seconds < 5, outcome
    assert list(tmp_path.iterdir()) == [path]


def test_names_that_lead_out_or_are_odd_are_only_names(tmp_path: Path):
    names = ['../../up', '/etc/absolute', 'C:\\x', '..\\up', 'a\tb', 'a\rb', 'x' * 60_000]
    archive = ZipArchive(make(tmp_path / 'x.zip', {name: name.encode() for name in names}))
    assert [archive.read(name).decode() for name in names] == names
    assert not archive.has([f'{name}x' for name in names]).any()
    assert sorted(tmp_path.rglob('*')) == [tmp_path / 'x.zip']


@pytest.mark.parametrize('other', ['b', 'b' * 60_000])
def test_long_names_take_no_memory(tmp_path: Path, other: str):
    archive = ZipArchive(make(tmp_path / 'x.zip', {'a': b'1', other: b'2'}))
    names = ['a', 'a' * 10**6, *[str(i) for i in range(20_000)]]
    outcome = in_child(lambda: archive.has(names).tolist())
    assert outcome.said == [True, *[False] * (len(names) - 1)]
    assert outcome.bytes < 2**29, outcome


def test_tightly_packed_files_are_read(tmp_path: Path):
    contents = {'map.npy': bytes(2**24), 'text': b'word ' * 10**6}
    archive = ZipArchive(make(tmp_path / 'x.zip', contents, zipfile.ZIP_DEFLATED))
    assert {name: archive.read(name) for name in contents} == contents
