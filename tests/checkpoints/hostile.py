"""Files that are no checkpoints, or hostile ones: every kind that we know of, in one table."""

import functools
import gzip
import io
import json
import pickle
import struct
import tarfile
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

from . import authors, payloads

LONG = 600 * 2**20  # bytes in a bomb, which has a few hundred kilobytes
_MEMO = iter(range(10**6, 10**9))  # places that the pickle around does not use


def put() -> tuple[bytes, bytes]:
    """Return the opcodes that keep the top of the stack, and that take it from there."""
    place = next(_MEMO).to_bytes(4, 'little')
    return b'r' + place, b'j' + place


def text(content: str) -> bytes:
    return b'X' + struct.pack('<I', len(content.encode())) + content.encode()


def number(value: int) -> bytes:
    data = pickle.encode_long(value)
    return b'\x8a' + bytes([len(data)]) + data


def call(function: str, *arguments: bytes) -> bytes:
    module, _, name = function.rpartition('.')
    return f'c{module}\n{name}\n('.encode() + b''.join(arguments) + b'tR'


def key(thing: bytes) -> bytes:
    return b'}' + thing + b'Ns'


def storage(elements: int, name: str, kind: str = 'FloatStorage') -> bytes:
    parts = [text('storage'), f'ctorch\n{kind}\n'.encode(), text(name), text('cpu')]
    return b'(' + b''.join(parts) + number(elements) + b'tQ'


def tuple_of(*numbers: int) -> bytes:
    return b'(' + b''.join(map(number, numbers)) + b't'


def tensor(
    size: tuple, stride: tuple, offset: int = 0, elements: int = 1, name: str = '0'
) -> bytes:
    return call(
        'torch._utils._rebuild_tensor_v2',
        *(storage(elements, name), number(offset), tuple_of(*size), tuple_of(*stride)),
        *(b'\x89', call('collections.OrderedDict')),
    )


def doubled(start: bytes, double: bytes, times: int) -> bytes:
    """Opcodes that begin with a thing, and make two of it over and over."""
    keep, get = put()
    return start + (keep + double.replace(b'GET', get)) * times


def often(thing: bytes, use: Callable[[bytes], bytes], times: int) -> bytes:
    """Opcodes for a list of many uses of a thing."""
    keep, get = put()
    return b'](' + thing + keep + use(get) * times + b'e'


LAUGHS = doubled(b')', b'GET\x86', 60)  # a tuple twice in a tuple, twice in a tuple, ...
DEEP = b')' + b'\x85' * 100_000
COLLIDING = b''.join(
    b'(' + b''.join(b'J' + struct.pack('<i', -1 - (i >> j & 1)) for j in range(16)) + b'tN'
    for i in range(2**14)
)
# What torch's reader takes for data.
OPCODES: dict[str, bytes] = {
    'a key that takes forever to hash': key(LAUGHS),
    'a set of what takes forever to hash': call('builtins.set', b'](' + LAUGHS + b'e'),
    'pairs of what takes forever to hash': call(
        'collections.OrderedDict', b'](](' + LAUGHS + b'Nee'
    ),
    'a storage with a name that takes forever to hash': b'('
    + text('storage')
    + b'ctorch\nFloatStorage\n'
    + LAUGHS
    + text('cpu')
    + b'K\x01tQ',
    'a key deeper than the stack': key(DEEP),
    'tuples deeper than the stack': DEEP,
    'lists deeper than the stack': b']' * 20_000 + b'a' * 19_999,
    'dicts deeper than the stack': b'}K\x01' * 20_000 + b'}' + b's' * 20_000,
    'lists in lists, twice each': doubled(b']', b'](GETGETe', 60),
    'keys with one hash': b'}(' + COLLIDING + b'u',
    'numbers with one hash': b'}('
    + b''.join(number(i * (2**61 - 1)) + b'N' for i in range(2**14))
    + b'u',
    'hexadecimal digits of hexadecimal digits': (b'c_codecs\nencode\n(' * 34)
    + call('_codecs.encode', text('A'), text('latin1'))
    + (text('hex') + b'tR') * 34,
    'long texts in UTF-32': often(
        text('A' * 10**5), lambda get: call('_codecs.encode', get, text('utf-32')), 20_000
    ),
    'long texts in punycode': call(
        '_codecs.encode', text(''.join(map(chr, range(0x4E00, 0x9000)))), text('punycode')
    ),
    'bytes by their number': call('builtins.bytearray', number(10**12)),
    'copies of many bytes': often(
        call('builtins.bytearray', call('_codecs.encode', text('A' * 10**5), text('latin1'))),
        lambda get: call('builtins.bytearray', get),
        40_000,
    ),
    'sets of a long list': often(
        b'](' + b''.join(map(number, range(10**5))) + b'e',
        lambda get: call('builtins.set', get),
        10_000,
    ),
    'sets of a list that grows later': b']'
    + (keep := put())[0]
    + b'\x85'
    + (later := put())[0]
    + keep[1]
    + b'('
    + b''.join(map(number, range(10**5)))
    + b'e]('
    + b''.join(b'cbuiltins\nset\n' + later[1] + b'R' for _ in range(10_000))
    + b'e\x86\x86',
    'shapes of a long tuple': often(
        b'(' + b'K\x01' * 10**5 + b't', lambda get: call('torch.Size', get), 20_000
    ),
    'a tensor by its size': call('torch.FloatTensor', number(10**12)),
    'a tensor of the class by its size': call('torch.Tensor', number(10**12)),
    'a tensor of nested lists': call('torch.Tensor', doubled(b'](K\x01e', b'](GETGETe', 40)),
    'a tensor by its size, not called by name': call(
        'torch._tensor._rebuild_from_type_v2',
        *(b'ctorch\nFloatTensor\n', b'ctorch\nTensor\n', b'(' + number(10**12) + b't', b'}'),
    ),
    'a storage by its size': call('torch.storage.UntypedStorage', number(10**12)),
    'a storage larger than the file': storage(10**12, '0'),
    'many storages of one size': b']('
    + b''.join(storage(10**9, str(i)) for i in range(100))
    + b'e',
    'a storage of fewer than no elements': storage(-1, '0'),
    'a tensor larger than its storage': tensor((10**6,), (1,)),
    'a tensor that repeats a number': tensor((10**12,), (0,)),
    'a tensor that repeats a number, converted': call(
        'torch._utils._rebuild_device_tensor_from_cpu_tensor',
        tensor((2**31,), (0,)),
        b'ctorch\nfloat64\n',
        text('cpu'),
        b'\x89',
    ),
    'a tensor on a device that is not there': call(
        'torch._utils._rebuild_device_tensor_from_cpu_tensor',
        tensor((1,), (1,)),
        b'ctorch\nfloat64\n',
        text('cuda:77'),
        b'\x89',
    ),
    'strides beyond all numbers': tensor((2, 2), (2**63 - 1, 2**63 - 1)),
    'strides beyond 64 bits': tensor((2,), (2**200,)),
    'negative strides': tensor((2,), (-1,), offset=1),
    'negative sizes': tensor((-2,), (1,)),
    'a negative offset': tensor((1,), (1,), offset=-4),
    'sizes whose product is small by overflow': tensor((2**32, 2**32), (2**32, 1)),
    'a thousand dimensions': tensor((1,) * 1000, (1,) * 1000),
    'a shape that is text': call(
        'torch._utils._rebuild_tensor_v2',
        *(storage(1, '0'), b'K\x00', text('12'), text('12'), b'\x89N'),
    ),
    'a call of what is called': call('collections.OrderedDict')[:-1] + b')RR',
    'arguments that are a list': b'cbuiltins\nset\n](](K\x01eeR',
    'a state for a class': b'ctorch\nTensor\n}' + text('shape') + b'K\x01sb',
    'a state for a function': b'ctorch._utils\n_rebuild_parameter\n}'
    + text('__code__')
    + b'K\x01sb',
    'an attribute of an OrderedDict': call('collections.OrderedDict')
    + b'}'
    + text('items')
    + b'K\x01sb',
    'more taken from the stack than there is': b'R' * 10,
    'what was never kept': b'j\xff\xff\xff\xff',
    'text longer than the file': b'X\xff\xff\xff\xff' + b'a',
    'text of 2**63 bytes': b'\x8d' + struct.pack('<Q', 2**63 - 1) + b'a',
    'bytes of 2**62 bytes': b'\x8e' + struct.pack('<Q', 2**62) + b'a',
    'a number of 2**31 bytes': b'\x8b' + struct.pack('<i', 2**31 - 1) + b'a',
    'a number of many digits': b'L' + b'9' * 10**6 + b'L\n',
    'a frame of 2**63 bytes': b'\x95' + struct.pack('<Q', 2**63 - 1) + b'N',
    'text that is not text': b'X\x02\x00\x00\x00\xff\xfe',
    'complex number of text': call('builtins.complex', text('9' * 10**6)),
    'a device of text': call('torch.device', text('os.system')),
    'a layout of text': call('torch.serialization._get_layout', text('__globals__')),
    'a wrapper without a tensor': call(
        'torch._utils._rebuild_wrapper_subclass',
        *(b'ctorch\nTensor\n', b'ctorch\nfloat32\n', tuple_of(2), tuple_of(1), b'K\x00'),
        *(call('torch.serialization._get_layout', text('torch.strided')), text('cpu'), b'\x89'),
    ),
}


def _quiet(make: Callable[[], object]) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return make()


def _recursive() -> dict:
    made: dict = {}
    made['a'] = made
    return made


# In place of the state dict.
STATES: dict[str, Callable[[dict], object]] = {
    'no state dict': lambda state: None,
    'a list for the state dict': lambda state: list(state),
    'text for the state dict': lambda state: 'weights',
    'a tensor for the state dict': lambda state: torch.ones(3),
    'numbers for keys': lambda state: dict(enumerate(state.values())),
    'a tuple for a key': lambda state: state | {('a', 1): torch.ones(1)},
    'text for tensors': lambda state: dict.fromkeys(state, 'weights'),
    'text for a tensor': lambda state: state | {next(iter(state)): 'weights'},
    'numbers for tensors': lambda state: dict.fromkeys(state, 1.0),
    'a dict within itself': lambda state: _recursive(),
    'numpy arrays for tensors': lambda state: {k: v.numpy() for k, v in state.items()},
    'histories for tensors': lambda state: dict.fromkeys(state, HistoryBuffer([1.0], [1])),
    'objects for tensors': lambda state: {
        k: np.array([None], dtype=object) for k, v in state.items()
    },
    'sparse tensors': lambda state: {k: v.to_sparse() for k, v in state.items()},
    'quantized tensors': lambda state: _quiet(
        lambda: {
            k: torch.quantize_per_tensor(v.float(), 0.1, 0, torch.qint8) for k, v in state.items()
        }
    ),
    'nested tensors': lambda state: _quiet(
        lambda: {k: torch.nested.nested_tensor([v, v]) for k, v in state.items()}
    ),
    'meta tensors': lambda state: {k: v.to('meta') for k, v in state.items()},
    'complex tensors': lambda state: {
        k: v.to(torch.complex64) * 1j if v.is_floating_point() else v for k, v in state.items()
    },
    'other shapes': lambda state: {k: v[None] for k, v in state.items()},
    'none of the keys': lambda state: {f'x.{k}': v for k, v in state.items()},
    'no weights': lambda state: {},
}
CODE = "open({!r}, 'w').close()"
# In place of what a training is resumed from.
RESUMED: dict[str, Callable[[Path], dict]] = {
    'a program in the config': lambda trace: dict(meta=dict(config=CODE.format(str(trace)))),
    'a list for meta': lambda trace: dict(meta=[1]),
    'an epoch that is text': lambda trace: dict(meta=dict(epoch='1')),
    'an iteration that is text': lambda trace: dict(meta=dict(iter='1')),
    'an iteration beyond all numbers': lambda trace: dict(meta=dict(iter=2**200)),
    'a negative iteration': lambda trace: dict(meta=dict(iter=-1)),
    'an iteration that is a tensor': lambda trace: dict(meta=dict(iter=torch.ones(3))),
    'a seed that is text': lambda trace: dict(meta=dict(seed='1')),
    'a seed beyond all numbers': lambda trace: dict(meta=dict(seed=2**200)),
    'text for the optimizer': lambda trace: dict(optimizer='AdamW'),
    'an optimizer without state': lambda trace: dict(optimizer=dict(a=1)),
    'an optimizer of another model': lambda trace: dict(
        optimizer=dict(state={}, param_groups=[dict(params=[0], lr=1.0)])
    ),
    'text for the schedulers': lambda trace: dict(param_schedulers='cosine'),
    'a scheduler that is a number': lambda trace: dict(param_schedulers=[1, 2, 3]),
    'text for the message hub': lambda trace: dict(message_hub='loss'),
    'a message hub without its parts': lambda trace: dict(message_hub=dict(a=1)),
    'gradients that are text': lambda trace: dict(gradients='none'),
}


def _safetensors(header: bytes, data: bytes = b'', length: int | None = None) -> bytes:
    return struct.pack('<Q', len(header) if length is None else length) + header + data


def _entry(offsets: list, shape: list, dtype: str = 'F32') -> dict:
    return dict(dtype=dtype, shape=shape, data_offsets=offsets)


def _json(**entries: object) -> bytes:
    return json.dumps(entries).encode()


SAFETENSORS: dict[str, bytes] = {
    'a header of 2**63 bytes': _safetensors(b'{}', length=2**63),
    'a header longer than the file': _safetensors(b'{}', length=10**6),
    'a header that is not JSON': _safetensors(b'{"a":'),
    'a header of nested lists': _safetensors(b'{"a":' + b'[' * 10**6),
    'tensors that share their bytes': _safetensors(
        _json(a=_entry([0, 4], [1]), b=_entry([0, 4], [1])), bytes(4)
    ),
    'tensors with bytes between': _safetensors(
        _json(a=_entry([0, 4], [1]), b=_entry([8, 12], [1])), bytes(12)
    ),
    'a tensor beyond the file': _safetensors(_json(a=_entry([0, 2**40], [2**38])), bytes(4)),
    'a shape larger than its bytes': _safetensors(_json(a=_entry([0, 4], [2**60])), bytes(4)),
    'a shape that is small by overflow': _safetensors(
        _json(a=_entry([0, 4], [2**32, 2**32, 2**32])), bytes(4)
    ),
    'a negative shape': _safetensors(_json(a=_entry([0, 4], [-1])), bytes(4)),
    'a dtype that is another': _safetensors(_json(a=_entry([0, 4], [1], 'F64')), bytes(4)),
    'a dtype that is none': _safetensors(_json(a=_entry([0, 4], [1], 'OBJ')), bytes(4)),
    'offsets the wrong way round': _safetensors(_json(a=_entry([4, 0], [1])), bytes(4)),
    'one key twice': _safetensors(
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
        b'"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}',
        bytes(8),
    ),
}


def _members(archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return {info.filename: opened.read(info) for info in opened.infolist()}


def rewritten(archive: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """Return the archive with its pickle changed."""
    members = _members(archive)
    return _pack({n: change(c) if n.endswith('data.pkl') else c for n, c in members.items()})


def _pack(members: dict[str, bytes], method: int = 0, **attributes: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w') as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            for attribute, value in attributes.items():
                setattr(info, attribute, value)
            archive.writestr(info, content, compresslevel=1)
    return file.getvalue()


def _end(archive: bytes) -> tuple[int, int, int]:
    """Return where the end of an archive is, and the size and the place of its contents."""
    at = archive.rindex(b'PK\x05\x06')
    return at, *struct.unpack_from('<2L', archive, at + 12)


def _two_contents(whole: bytes) -> bytes:
    """An archive with the contents of a bomb for torch, which does not look before the end."""
    bomb = _bomb(whole)
    at, _, start = _end(bomb)
    shown = _pack(_members(whole))
    other, shown_size, shown_start = _end(shown)
    directory = shown[shown_start : shown_start + shown_size]
    end = bytearray(shown[other:])
    struct.pack_into('<2L', end, 12, shown_size, start)
    return bomb[:at] + directory + bytes(end)


def _two_contents_zip64(whole: bytes) -> bytes:
    """The same by the end record for large archives, which torch looks for where it is told to."""
    bomb = _bomb(whole)
    at, size, start = _end(bomb)
    count = len(_members(whole))
    hidden = struct.pack('<4sQ2H2L4Q', b'PK\x06\x06', 44, 45, 45, 0, 0, count, count, size, start)
    first = bomb[:at] + hidden
    shown = _pack(_members(whole))
    other, shown_size, shown_start = _end(shown)
    place = len(first) + shown_start
    record = struct.pack(
        '<4sQ2H2L4Q', b'PK\x06\x06', 44, 45, 45, 0, 0, count, count, shown_size, place
    )
    locator = struct.pack('<4sLQL', b'PK\x06\x07', 0, at, 1)
    return first + shown[:other] + record + locator + shown[other:]


@functools.cache
def _bomb(archive: bytes) -> bytes:
    """The same archive with a pickle that goes on for long, compressed."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        for name, content in _members(archive).items():
            with packed.open(name, 'w') as entry:
                if name.endswith('data.pkl'):
                    entry.write(b'\x80\x02X' + struct.pack('<I', LONG))
                    _write_long(entry)
                    content = content[2:]
                entry.write(content)
    return file.getvalue()


def _write_long(file: IO[bytes]) -> None:
    for _ in range(LONG // 2**20):
        file.write(b'a' * 2**20)


def _shared(whole: bytes) -> bytes:
    """An archive with many entries for the same bytes."""
    at, size, start = _end(packed := _pack(_members(whole) | {'hostile/data/big': bytes(2**22)}))
    directory = packed[start : start + size]
    last = directory[directory.rindex(b'PK\x01\x02') :]
    entries = directory + b''.join(
        last.replace(b'data/big', f'data/{i:03}'.encode()) for i in range(900)
    )
    end = bytearray(packed[at:])
    count = entries.count(b'PK\x01\x02')
    struct.pack_into('<2H2L', end, 8, count, count, len(entries), start)
    return packed[:start] + entries + bytes(end)


def _lying(whole: bytes, offset: int, value: int, form: str = '<L') -> bytes:
    """The archive with another value in the last entry of its contents."""
    packed = bytearray(_pack(_members(whole)))
    struct.pack_into(form, packed, packed.rindex(b'PK\x01\x02') + offset, value)
    return bytes(packed)


def _ending(whole: bytes, offset: int, value: int, form: str = '<L') -> bytes:
    packed = bytearray(_pack(_members(whole)))
    struct.pack_into(form, packed, packed.rindex(b'PK\x05\x06') + offset, value)
    return bytes(packed)


def _tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode='w') as archive:
        archive.addfile(tarfile.TarInfo('pickle'))
    return file.getvalue()


def _tar_bomb() -> bytes:
    """A compressed tar archive with a long name, which Python reads to tell what it is."""
    name = tarfile.TarInfo('././@LongLink')
    name.type, name.size = tarfile.GNUTYPE_LONGNAME, LONG
    file = io.BytesIO()
    with gzip.GzipFile(fileobj=file, mode='wb', compresslevel=1) as packed:
        packed.write(name.tobuf())
        _write_long(packed)
        packed.write(_tar())
    return file.getvalue()


def _script() -> bytes:
    file = io.BytesIO()
    _quiet(lambda: torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), file))
    return file.getvalue()


def _legacy(change: Callable[[bytes], bytes], checkpoint: dict) -> bytes:
    file = io.BytesIO()
    torch.save(checkpoint, file, _use_new_zipfile_serialization=False)
    return change(file.getvalue())


def _renamed(whole: bytes, change: Callable[[str], str]) -> bytes:
    return _pack({change(name): content for name, content in _members(whole).items()})


def _stored(kind: bytes, key: bytes, elements: int, **records: int) -> bytes:
    """Return an archive with one storage, and records of so many bytes."""
    parts = [text('storage'), kind, key, text('cpu'), number(elements)]
    pickled = b'\x80\x02}' + text('a') + b'(' + b''.join(parts) + b'tQs.'
    return _pack(
        {'hostile/data.pkl': pickled, 'hostile/version': b'3', 'hostile/byteorder': b'little'}
        | {f'hostile/data/{name}': bytes(size) for name, size in records.items()}
    )


# In place of the whole file, of which they get an honest one.
FILES: dict[str, Callable[[bytes], bytes]] = {
    'nothing': lambda whole: b'',
    'zeros': lambda whole: bytes(10**6),
    'a web page': lambda whole: b'<html>not found</html>',
    'half a file': lambda whole: whole[: len(whole) // 2],
    'a file without its end': lambda whole: whole[:-1],
    'a compressed archive': lambda whole: _pack(_members(whole), zipfile.ZIP_DEFLATED),
    'a bomb': _bomb,
    'a bomb behind other contents': _two_contents,
    'a bomb behind other contents of a large archive': _two_contents_zip64,
    'entries that share their bytes': _shared,
    'an entry larger than the file': lambda whole: _lying(whole, 24, 2**31),
    'an entry packed larger than the file': lambda whole: _lying(whole, 20, 2**31),
    'an entry beyond the file': lambda whole: _lying(whole, 42, 2**31),
    'an encrypted entry': lambda whole: _lying(whole, 8, 1, '<H'),
    'an entry of 2**64 bytes': lambda whole: _lying(whole, 24, 2**32 - 1),
    'more entries than there are': lambda whole: _ending(whole, 10, 2**16 - 1, '<H'),
    'contents beyond the file': lambda whole: _ending(whole, 16, 2**32 - 2),
    'contents of all the file': lambda whole: _ending(whole, 12, 2**32 - 2),
    'entries that are links': lambda whole: _pack(
        _members(whole) | {'hostile/data/0': b'/etc/passwd'}, external_attr=0o120777 << 16
    ),
    'a storage of a few bytes': lambda whole: _pack(_members(whole) | {'hostile/data/0': b'few'}),
    'a storage in capitals, of a few bytes': lambda whole: _pack(
        _members(whole) | {'hostile/DATA/0': b'few'}
    ),
    'a tensor for the class of a storage': lambda whole: _stored(
        tensor((1,), (1,), name='a'), text('b'), 10**6, a=4, b=10**6
    ),
    'bytes for the key of a storage': lambda whole: _stored(
        b'ctorch\nFloatStorage\n',
        call('_codecs.encode', text('x'), text('latin1')),
        10**6,
        **{"b'x'": 4, 'None': 4 * 10**6},
    ),
    'entries that leave the folder': lambda whole: _renamed(whole, lambda name: f'../../{name}'),
    'a pickle in capitals': lambda whole: _renamed(whole, str.upper),
    'an archive of text': lambda whole: _pack({'a.txt': b'a'}),
    'an archive without a pickle': lambda whole: _pack(
        {name: c for name, c in _members(whole).items() if not name.endswith('.pkl')}
    ),
    'an archive in an archive': lambda whole: _pack({'x.pth': whole}),
    'a TorchScript program': lambda whole: _script(),
    'a tar archive': lambda whole: _tar(),
    'a compressed tar archive': lambda whole: gzip.compress(_tar()),
    'a tar archive with a header that goes on for long': lambda whole: _tar_bomb(),
    'a list': lambda whole: _legacy(lambda content: content, [1]),  # type: ignore[arg-type]
    'a pickle of protocol 5': lambda whole: pickle.dumps(dict(a=1), protocol=5),
}
# Among the storages of a file from before torch 1.6.
LEGACY: dict[str, Callable[[bytes], bytes]] = {
    'a storage larger than an old file': lambda content: content.replace(
        b'K\x4d', b'J' + struct.pack('<i', 2**31 - 1), 1
    ),
    'an old file without its storages': lambda content: (
        content[: content.rindex(b'\x80\x02')] + b'\x80\x02].'
    ),
    'an old file with a storage of 2**62': lambda content: (
        content[: -8 - 4 * 77] + struct.pack('<q', 2**62) + content[-4 * 77 :]
    ),
}

KINDS = [
    *(f'call: {kind}' for kind in authors.KINDS),
    *(f'fill: {kind}' for kind in payloads.PAYLOADS),
    *(f'opcodes: {kind}' for kind in OPCODES),
    *(f'weights: {kind}' for kind in STATES),
    *(f'resumed: {kind}' for kind in RESUMED),
    *(f'safetensors: {kind}' for kind in SAFETENSORS),
    *(f'file: {kind}' for kind in FILES),
    *(f'old: {kind}' for kind in LEGACY),
]


def write(kind: str, folder: Path, checkpoint: dict, trace: Path) -> Path:
    """Write a hostile file.

    Args:
        kind: One of `KINDS`.
        folder: Where to.
        checkpoint: What an honest file would have in it.
        trace: Made if a program in the file runs.

    Returns:
        The file.
    """
    path = folder / 'hostile.pth'
    group, _, kind = kind.partition(': ')
    if group == 'call':
        authors.harmful_file(kind, path, checkpoint['state_dict'], trace)
    elif group == 'fill':
        payloads.write(path, payloads.PAYLOADS[kind], **checkpoint)
    elif group == 'opcodes':
        torch.save(dict(extra=authors.PLACE, **checkpoint), path)
        authors.rewrite(path, lambda content: content.replace(authors.PLACE_OPCODES, OPCODES[kind]))
    elif group == 'weights':
        state = STATES[kind](checkpoint['state_dict'])
        torch.save(checkpoint | dict(state_dict=state), path)
    elif group == 'resumed':
        changes = RESUMED[kind](trace)
        if isinstance(meta := changes.get('meta'), dict):
            changes['meta'] = checkpoint['meta'] | meta
        torch.save(checkpoint | changes, path)
    elif group == 'safetensors':
        path = folder / 'hostile.safetensors'
        path.write_bytes(SAFETENSORS[kind])
    elif group == 'file':
        torch.save(checkpoint, path)
        path.write_bytes(FILES[kind](path.read_bytes()))
    else:
        held = OrderedDict(a=torch.arange(77.0))
        changed = _legacy(LEGACY[kind], held)
        assert changed != _legacy(lambda content: content, held)
        path.write_bytes(changed)
    return path
