import datetime
import pickle
import zipfile
from argparse import Namespace
from collections import OrderedDict, defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from mmdwnet.checkpoints.reading import read_foreign, read_own
from mmdwnet.errors import UserError

from . import authors


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_foreign(path)
    assert str(path) in str(caught.value)
    assert '\n' not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize('kind', authors.KINDS)
def test_harmful_files_would_do_harm(weights, tmp_path: Path, kind):
    """Without this, the tests below could pass for the wrong reason."""
    path, trace = tmp_path / 'x.pth', tmp_path / 'trace'
    authors.harmful_file(kind, path, weights, trace)
    assert not trace.exists()
    with authors.extension(), authors.yacs():
        try:
            torch.load(path, weights_only=False)
        except Exception as error:  # once the harm is done, what is left may be no checkpoint
            print(error)
    assert trace.exists()


@pytest.mark.parametrize('kind', authors.KINDS)
def test_harmful_files_do_none(weights, tmp_path: Path, kind):
    path, trace = tmp_path / 'x.pth', tmp_path / 'trace'
    authors.harmful_file(kind, path, weights, trace)
    with authors.extension():
        try:
            _, replaced = read_foreign(path)
        except UserError as error:
            assert str(path) in str(error) and '\n' not in str(error)
        else:
            assert set(replaced) - {'yacs.config.CfgNode'}
    assert not trace.exists()


def test_system_is_called_by_its_name(weights, tmp_path: Path):
    path = authors.harmful_file('system', tmp_path / 'x.pth', weights, tmp_path / 'trace')
    assert 'asks for posix.system, so it was made to run a program' in refusal(path)


@pytest.mark.parametrize('zipped', [True, False])
def test_what_is_no_data_is_replaced_and_told(weights, tmp_path: Path, capfd, zipped):
    path = tmp_path / 'x.pth'
    others = {
        'model': OrderedDict(weights),
        'numbers': (1, 2.5, 2**70, True, None, 'text', b'bytes', {3}),
        'nested': [{'a': [torch.arange(3)]}],
        'date': datetime.date(2022, 4, 25),
        'path': Path('a'),
        'args': Namespace(lr=1),
        'counts': defaultdict(list, a=[1]),
        'number': np.float32(2),
        'array': np.arange(3),
        'history': HistoryBuffer([1.0], [1]),
    }
    torch.save(others, path, _use_new_zipfile_serialization=zipped)
    read, replaced = read_foreign(path)
    assert read['model'].keys() == weights.keys()
    for key, value in weights.items():
        torch.testing.assert_close(read['model'][key], value, rtol=0, atol=0)
    assert read['numbers'] == others['numbers']
    assert read['nested'][0]['a'][0].tolist() == [0, 1, 2]
    assert {'datetime.date', 'argparse.Namespace', 'numpy.ndarray', 'builtins.getattr'} <= set(
        replaced
    )
    assert not any(
        isinstance(read[key], type(others[key]))
        for key in ('date', 'path', 'args', 'number', 'array', 'history')
    )
    (told,) = (line for line in capfd.readouterr().out.splitlines() if str(path) in line)
    assert f'{path} names {", ".join(replaced[:10])}' in told
    assert f' and {len(replaced) - 10} more' in told and 'nothing was run' in told


def test_plain_files_need_no_words(weights, tmp_path: Path, capfd):
    torch.save(weights, tmp_path / 'x.pth')
    assert read_foreign(tmp_path / 'x.pth')[1] == []
    assert capfd.readouterr() == ('', '')


def test_functions_that_others_trust_are_replaced_too(weights, tmp_path: Path):
    path, trace = tmp_path / 'x.pth', tmp_path / 'trace'
    authors.harmful_file('torch', path, weights, trace)
    with torch.serialization.safe_globals([torch.save]):
        assert 'torch.serialization.save' in read_foreign(path)[1]
        assert torch.save in torch.serialization.get_safe_globals()
    assert not trace.exists()


OBJECT = b'A' * 8  # an address, for those who believe it


@pytest.mark.parametrize(
    'thing',
    [
        b'cnumpy._core.multiarray\nscalar\n(%s%stR'
        % (authors.opcodes(np.dtype('O')).replace(b'K?', b'K\x00'), authors.opcodes(OBJECT)),
        b'cnumpy._core.multiarray\nscalar\n(%s%stR'
        % (authors.opcodes(np.dtype('f8')).replace(b'K\x00t', b'K?t'), authors.opcodes(OBJECT)),
        b'cnumpy\nndarray\n((K\x01t%s%stR' % (authors.opcodes('O'), authors.opcodes(OBJECT)),
        b'cnumpy\nndarray\n((K\x01t%s%st\x81' % (authors.opcodes('O'), authors.opcodes(OBJECT)),
    ],
)
def test_bytes_are_not_taken_for_objects(tmp_path: Path, thing):
    """numpy would do so, and crash."""
    path = tmp_path / 'x.pth'
    torch.save(dict(state_dict={}, extra=authors.PLACE), path)
    thing = thing.replace(
        b'numpy._core.multiarray', np.float32(0).__reduce__()[0].__module__.encode()
    )
    authors.rewrite(path, lambda content: content.replace(authors.PLACE_OPCODES, thing))
    assert 'numpy.dtype' in (replaced := read_foreign(path)[1]) or 'numpy.ndarray' in replaced
    with pytest.raises(UserError, match='corrupt or not a checkpoint: ValueError'):
        read_own(path)


def test_histories_are_read(tmp_path: Path):
    path = tmp_path / 'x.pth'
    kept = dict(
        history=HistoryBuffer([1.0, 2.0], [1, 1]),
        numbers=[np.float32(1), np.float64(2), np.int64(3)],
        state=np.random.RandomState(0).get_state()[1],
    )
    torch.save(dict(state_dict=dict(a=torch.ones(2)), message_hub=kept), path)
    assert read_own(path)['state_dict']['a'].tolist() == [1, 1]


@pytest.mark.parametrize('size', [2, 2**20, 2**31 - 1])
@pytest.mark.parametrize('where', ['storage', 'tensor'])
@pytest.mark.parametrize('zipped', [True, False])
def test_sizes_may_lie(tmp_path: Path, size, where, zipped):
    path = tmp_path / 'x.pth'
    torch.save(dict(a=torch.arange(77.0)), path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    places = [i for i in range(len(content)) if content[i : i + 2] == b'K\x4d'][:2]
    start = places[0 if where == 'storage' else 1]

    def lie(content: bytes) -> bytes:
        i = [i for i in range(len(content)) if content[i : i + 2] == b'K\x4d'][start != places[0]]
        return content[:i] + b'J' + size.to_bytes(4, 'little') + content[i + 2 :]

    if zipped:
        authors.rewrite(path, lie)
    else:
        path.write_bytes(lie(content))
    try:
        read, _ = read_foreign(path)
    except UserError:
        return
    # A tensor may be smaller than its storage; what is there has to be what was written.
    assert read['a'].tolist() == list(range(len(read['a'])))


@pytest.mark.parametrize('length', [0, 3, 100, 5000, -1])
@pytest.mark.parametrize('zipped', [True, False])
def test_truncated_files_are_refused(weights, tmp_path: Path, length, zipped):
    path = tmp_path / 'x.pth'
    torch.save(weights, path, _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[:length])
    assert 'cannot be read, so it is corrupt or not a checkpoint' in refusal(path)


def test_files_that_are_no_checkpoints_are_refused(tmp_path: Path):
    path = tmp_path / 'x.pth'
    assert refusal(path).startswith('no checkpoint at')
    assert refusal(tmp_path).startswith('no checkpoint at')
    path.write_text('<html>not found</html>')
    assert 'cannot be read' in refusal(path)
    torch.save([1, 2], path)
    assert 'is not a checkpoint but a list' in refusal(path)
    path.write_bytes(pickle.dumps(dict(a=1), protocol=5))
    assert 'cannot be read' in refusal(path)
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('a.txt', 'a')
    assert 'cannot be read' in refusal(path)
    safetensors = tmp_path / 'x.safetensors'
    safetensors.write_bytes(b'\x00' * 100)
    assert 'cannot be read' in refusal(safetensors)


def test_programs_are_refused(tmp_path: Path):
    path = tmp_path / 'x.pth'
    torch.jit.script(torch.nn.Linear(2, 2)).save(path)
    assert 'is a TorchScript program' in refusal(path)
    with pytest.raises(UserError, match='is a TorchScript program'):
        read_own(path)


def test_compressed_files_are_refused(weights, tmp_path: Path):
    path = tmp_path / 'x.pth'
    torch.save(weights, path)
    authors.rewrite(path, lambda content: content, zipfile.ZIP_DEFLATED)
    assert 'is a compressed archive' in refusal(path)


def test_files_with_too_many_names_are_refused(weights, tmp_path: Path):
    path = tmp_path / 'x.pth'
    authors.classifier_file(path, weights, extra=authors.PLACE)
    names = b'](%se' % b''.join(b'ca\nb%d\n' % i for i in range(10_000))
    authors.rewrite(path, lambda content: content.replace(authors.PLACE_OPCODES, names))
    assert 'and 90 more, which no weights need' in refusal(path)


def test_calls_of_what_was_replaced_are_refused(weights, tmp_path: Path):
    path = authors.harmful_file('getattr', tmp_path / 'x.pth', weights, tmp_path / 'trace')
    said = refusal(path)
    assert 'without builtins.getattr, importlib.import_module, ' in said
    assert 'which no weights need' in said
    assert 'nothing was run; get only its weights' in said
