import json
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import (
    CheckpointLoader,
    get_external_models,
    get_mmcls_models,
    get_torchvision_models,
    load_checkpoint,
)

from mmdwnet import DWNet
from mmdwnet.checkpoints import RELEASES
from mmdwnet.checkpoints.loading import as_data, load, load_from_data
from mmdwnet.checkpoints.reading import read_foreign, read_own
from mmdwnet.errors import UserError

from . import payloads

STATE = {'backbone.a': torch.arange(3.0), 'head': torch.ones(1)}


class Files(SimpleHTTPRequestHandler):
    """Serves a folder without a word."""

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch) -> Path:
    """An empty cache of torch hub, and an empty home of mmengine."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    monkeypatch.setenv('MMENGINE_HOME', str(tmp_path / 'mmengine'))
    folder = tmp_path / 'torch' / 'hub' / 'checkpoints'
    folder.mkdir(parents=True)
    (tmp_path / 'mmengine').mkdir()
    (tmp_path / 'mmengine' / 'open_mmlab.json').write_text(json.dumps(dict(mine='mine.pth')))
    return folder


@pytest.fixture
def clients(tmp_path: Path, monkeypatch) -> Path:
    """A folder that the clients of Petrel and Pavi, which are not public, take for their store."""
    store = tmp_path / 'store'
    store.mkdir()

    class Client:
        def __init__(self, **options: object) -> None:
            pass

        def Get(self, path: str, **options: object) -> bytes:  # noqa: N802
            return (store / path.rpartition('/')[2]).read_bytes()

    petrel, package, pavi = (ModuleType(name) for name in ('petrel_client', 'client', 'pavi'))
    package.Client, petrel.client = Client, package
    pavi.modelcloud = SimpleNamespace(
        get=lambda path: SimpleNamespace(
            name='x.pth', download=lambda file: shutil.copy(store / path, file)
        )
    )
    modules = {'petrel_client': petrel, 'petrel_client.client': package, 'pavi': pavi}
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return store


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Where tmp_path is served."""
    handler = partial(Files, directory=str(tmp_path))
    with ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{server.server_port}'
        server.shutdown()


@pytest.fixture
def put(cache: Path, clients: Path, tmp_path: Path, address: str) -> Callable[[str, Path], str]:
    """Puts a file where a scheme looks for it; returns the name to load it by."""

    def place(scheme: str, file: Path) -> str:
        urls = {
            'torchvision://resnet18': get_torchvision_models,
            'modelzoo://resnet18': get_torchvision_models,
            'open-mmlab://vgg16_caffe': get_external_models,
            'openmmlab://resnet50_caffe': get_external_models,
            'mmcls://vgg11': get_mmcls_models,
        }
        if scheme in urls:
            name = scheme.partition('://')[2].replace('resnet50', 'detectron/resnet50')
            shutil.copy(file, cache / urls[scheme]()[name].rpartition('/')[2])
        elif scheme == 'open-mmlab://mine':
            shutil.copy(file, tmp_path / 'mmengine' / 'mine.pth')
        elif '://' in scheme:
            shutil.copy(file, clients / 'x.pth')
        elif scheme == 'http':
            return f'{address}/{file.relative_to(tmp_path)}'
        else:
            return str(file)
        return scheme

    return place


SCHEMES = [
    'file',
    'http',
    'torchvision://resnet18',
    'modelzoo://resnet18',
    'open-mmlab://vgg16_caffe',
    'open-mmlab://mine',
    'openmmlab://resnet50_caffe',
    'mmcls://vgg11',
    's3://bucket/x.pth',
    'cluster:s3://bucket/x.pth',
    'petrel://bucket/x.pth',
    'pavi://x.pth',
]


def load_by_mmengine(path: str) -> dict:
    with as_data():
        return CheckpointLoader.load_checkpoint(path, map_location='cpu')


@pytest.mark.parametrize('name', payloads.PAYLOADS)
def test_payloads_would_do_harm(tmp_path: Path, name):
    """Without this, the tests below could pass for the wrong reason."""
    path = payloads.write(tmp_path / 'x.pth', payloads.PAYLOADS[name])
    with payloads.harm() as harmed, torch.serialization.safe_globals(payloads.MARKED):
        torch.load(path, weights_only=True)
    assert harmed


@pytest.mark.parametrize('scheme', SCHEMES)
@pytest.mark.parametrize('reader', [load, load_by_mmengine])
def test_payloads_do_none(tmp_path: Path, put, scheme, reader):
    for i, payload in enumerate(payloads.PAYLOADS.values()):
        path = put(scheme, payloads.write(tmp_path / f'{i}.pth', payload, state_dict=STATE))
        with payloads.harm() as harmed, pytest.raises(UserError, match='cannot be read'):
            reader(path)
        assert not harmed


@pytest.mark.parametrize('zipped', [True, False])
def test_payloads_do_none_to_converters(tmp_path: Path, zipped):
    for name, payload in payloads.PAYLOADS.items():
        path = tmp_path / f'{name}.pth'
        torch.save(dict(a=payload), path, _use_new_zipfile_serialization=zipped)
        with payloads.harm() as harmed:
            for read in (read_foreign, read_own):
                try:
                    read(path)
                except UserError as error:
                    assert str(path) in str(error)
        assert not harmed


@pytest.mark.parametrize('reader', [load, CheckpointLoader.load_checkpoint, load_by_mmengine])
def test_payloads_do_none_as_releases(tmp_path: Path, monkeypatch, reader):
    monkeypatch.setenv('DWNET_CHECKPOINT_DIR', str(tmp_path))
    monkeypatch.setitem(RELEASES, 'dwnet_nano', 'http://127.0.0.1:9/x.pth')
    file = tmp_path / 'x.pth'
    state = DWNet('nano').state_dict()
    for payload in payloads.PAYLOADS.values():
        payloads.write(file, payload, model=state)
        with payloads.harm() as harmed, pytest.raises(UserError, match='dwnet_nano'):
            reader('dwnet://dwnet_nano')
        assert not harmed


@pytest.mark.parametrize('kind', ['good', 'strange', 'corrupt'])
@pytest.mark.parametrize('read', [read_own, read_foreign])
def test_nothing_stays_marked(tmp_path: Path, kind, read):
    path = tmp_path / 'x.pth'
    held = dict(a=HistoryBuffer([1.0], [1]), b=getattr if kind == 'strange' else 1)
    torch.save(held, path)
    if kind == 'corrupt':
        path.write_bytes(path.read_bytes()[:100])
    with torch.serialization.safe_globals([Path]):
        before = set(torch.serialization.get_safe_globals())
        try:
            read(path)
        except UserError as error:
            assert kind != 'good', error
        assert set(torch.serialization.get_safe_globals()) == before
    with pytest.raises(Exception, match=r'Weights only load failed|failed finding'):
        torch.load(path, weights_only=True)


@pytest.mark.parametrize('scheme', SCHEMES)
def test_every_scheme_is_read_once(tmp_path: Path, put, monkeypatch, scheme):
    file = tmp_path / 'x.pth'
    torch.save(dict(state_dict=STATE), file)
    path = put(scheme, file)
    counted, read = [], torch.load
    monkeypatch.setattr(torch, 'load', lambda *a, **k: counted.append(a) or read(*a, **k))
    with as_data():
        checkpoint = load(path)
        assert CheckpointLoader.load_checkpoint(path) is checkpoint
    assert len(counted) == 1
    wanted = {'a': STATE['backbone.a']} if scheme.startswith('mmcls') else STATE
    assert checkpoint['state_dict'].keys() == wanted.keys()
    assert all(torch.equal(checkpoint['state_dict'][key], value) for key, value in wanted.items())


def test_a_file_that_was_written_again_is_read_again(tmp_path: Path):
    file = tmp_path / 'x.pth'
    with as_data():
        for value in (1, 2):
            torch.save(dict(value=value, padding=[0] * value), file)
            assert load(str(file))['value'] == value


def test_what_was_read_does_not_change_with_its_file(tmp_path: Path):
    file = tmp_path / 'x.pth'
    torch.save(dict(a=torch.ones(100_000)), file)
    read = load(str(file))
    with file.open('r+b') as stream:
        stream.write(bytes(file.stat().st_size))
    assert read['a'].eq(1).all()


def test_names_that_mmengine_does_not_know_are_told():
    with pytest.raises(UserError, match=r'no checkpoint torchvision://resnet19: check its name'):
        load('torchvision://resnet19')


@pytest.mark.parametrize('path', ['s3://bucket/x.pth', 'pavi://x.pth'])
def test_missing_clients_are_told(path):
    with pytest.raises(UserError, match=f'{path} cannot be fetched .*: install the client'):
        load(path)


def test_unknown_schemes_are_told():
    for reader in (load, load_by_mmengine):
        with pytest.raises(UserError, match=r'ftp://x\.pth has a scheme that cannot be read'):
            reader('ftp://x.pth')


def schemes() -> dict:
    told = (
        'mmengine keeps its schemes elsewhere now: as_data() must be told where, or mmengine '
        'reads checkpoints in its own way'
    )
    assert hasattr(CheckpointLoader, '_schemes'), told
    return dict(CheckpointLoader._schemes)


def test_mmengine_reads_in_its_own_way_again():
    before = schemes()
    assert {'', 'http://', 'torchvision://'} <= set(before)
    with pytest.raises(ZeroDivisionError), as_data(), as_data():
        within = schemes()
        assert within.keys() == before.keys()
        assert set(within.values()) == {load_from_data}
        raise ZeroDivisionError
    assert list(schemes().items()) == list(before.items())


def test_schemes_of_users_are_theirs(monkeypatch):
    monkeypatch.setattr(CheckpointLoader, '_schemes', schemes())
    CheckpointLoader.register_scheme('mine://', lambda path, map_location: dict(mine=path))
    CheckpointLoader.register_scheme('s3://', lambda path, map_location: dict(s3=path), force=True)
    for read in (load, load_by_mmengine):
        assert read('mine://a') == dict(mine='mine://a')
    assert load_by_mmengine('s3://a') == dict(s3='s3://a')


def test_histories_and_numbers_are_what_they_were(tmp_path: Path):
    file = tmp_path / 'x.pth'
    history = HistoryBuffer([1.0, 2.5, 4.0], [1, 2, 1], max_length=7)
    numbers = [np.float64(1.5), np.int64(2), np.array([[1, 2], [3, 4]], order='F')]
    held = dict(
        message_hub=dict(log_scalars={'loss': history}, again=(history, [history])),
        meta=dict(numbers=numbers, big=np.array([1, 2], dtype='>i4'), part=slice(1, 2)),
    )
    torch.save(held, file)
    read = load(str(file))
    found = read['message_hub']['log_scalars']['loss']
    assert type(found) is HistoryBuffer and found.max_length == 7
    assert found.mean() == history.mean() and found.statistics('max') == 4
    for one, other in zip(found.data, history.data, strict=True):
        assert one.dtype == other.dtype and one.tolist() == other.tolist()
    found.update(5.0)
    assert found.current() == 5
    assert [type(each) for each in read['message_hub']['again']] == [HistoryBuffer, list]
    assert type(read['message_hub']['again'][1][0]) is HistoryBuffer
    for one, other in zip(read['meta']['numbers'], numbers, strict=True):
        assert type(one) is type(other) and np.array_equal(one, other)
    assert read['meta']['big'].tolist() == [1, 2] and read['meta']['part'] == slice(1, 2)


def test_circles_end(tmp_path: Path):
    circle: list = [np.arange(2)]
    circle.append(circle)
    torch.save(dict(a=circle), tmp_path / 'x.pth')
    read = load(str(tmp_path / 'x.pth'))['a']
    assert read[1] is read and read[0].tolist() == [0, 1]


def test_models_are_loaded_with_what_was_read(tmp_path: Path):
    file = tmp_path / 'x.pth'
    model = torch.nn.Linear(2, 2)
    torch.save(dict(state_dict=model.state_dict()), file)
    other = torch.nn.Linear(2, 2)
    with as_data():
        load_checkpoint(other, str(file))
    assert torch.equal(other.weight, model.weight)
