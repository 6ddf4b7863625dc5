import hashlib
from pathlib import Path

import pytest
import torch
from mmengine.runner import CheckpointLoader
from torch import Tensor

from mmdwnet import DWNet
from mmdwnet.checkpoints import RELEASES
from mmdwnet.errors import UserError

from . import authors

FILE = 'dwnet_tiny_224.pth'


@pytest.fixture(scope='module')
def weights() -> dict[str, Tensor]:
    """A classifier's weights, in the authors' naming."""
    torch.manual_seed(0)
    head = {'head.weight': torch.randn(10, 768), 'head.bias': torch.randn(10)}
    return {**DWNet('tiny').state_dict(), **head}


@pytest.fixture(scope='module')
def file(weights, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return authors.classifier_file(tmp_path_factory.mktemp('release') / FILE, weights)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch) -> Path:
    """An empty cache of torch hub."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    monkeypatch.delenv('DWNET_CHECKPOINT_DIR', raising=False)
    folder = tmp_path / 'torch' / 'hub' / 'checkpoints'
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    """An empty folder of released files."""
    folder = tmp_path / 'released'
    folder.mkdir()
    monkeypatch.setenv('DWNET_CHECKPOINT_DIR', str(folder))
    return folder


def load(name: str = 'dwnet_tiny') -> dict:
    return CheckpointLoader.load_checkpoint(f'dwnet://{name}', map_location='cpu')


def refusal(name: str = 'dwnet_tiny') -> str:
    with pytest.raises(UserError) as caught:
        load(name)
    assert '\n' not in str(caught.value)
    return str(caught.value)


def check(loaded: dict, weights: dict[str, Tensor]) -> None:
    state = loaded['state_dict']
    assert len(state) == len(weights)
    for key, value in weights.items():
        named = key.replace('head.', 'head.fc.') if 'head.' in key else f'backbone.{key}'
        torch.testing.assert_close(state[named], value, rtol=0, atol=0)


def test_names_and_addresses():
    backbones = {'dwnet_tiny', 'dynamic_dwnet_tiny', 'dwnet_base', 'dynamic_dwnet_base'}
    assert set(RELEASES) == (
        backbones
        | {f'cascade_mask_rcnn_{name}' for name in backbones}
        | {f'upernet_{name}' for name in backbones}
        | {f'swin_mlp_{name}' for name in ('tiny_c24', 'tiny_c12', 'tiny_c6', 'base')}
    )
    authors_page = 'https://github.com/Atten4Vis/DemystifyLocalViT/releases/download/prerelease/'
    assert RELEASES['dynamic_dwnet_base'] == f'{authors_page}dynamic_dwnet_base_224.pth'
    assert RELEASES['upernet_dwnet_tiny'] == f'{authors_page}upernet_dwnet_tiny.pth'
    swin_page = 'https://github.com/SwinTransformer/storage/releases/download/v1.0.5/'
    assert RELEASES['swin_mlp_tiny_c6'] == f'{swin_page}swin_mlp_tiny_c6_patch4_window8_256.pth'
    assert RELEASES['swin_mlp_base'] == f'{swin_page}swin_mlp_base_patch4_window7_224.pth'


def test_files_of_the_given_folder_come_first(folder: Path, cache: Path, file: Path, weights):
    (folder / FILE).symlink_to(file)
    (cache / FILE).write_text('another')
    check(load(), weights)


def test_files_of_the_cache_come_next(folder: Path, cache: Path, file: Path, weights):
    (cache / FILE).symlink_to(file)
    check(load(), weights)


def test_files_are_downloaded_once(cache: Path, file: Path, weights, monkeypatch):
    monkeypatch.setitem(RELEASES, 'dwnet_tiny', file.as_uri())
    check(load(), weights)
    assert (cache / FILE).read_bytes() == file.read_bytes()
    monkeypatch.setitem(RELEASES, 'dwnet_tiny', f'http://127.0.0.1:9/{FILE}')
    check(load(), weights)


@pytest.mark.parametrize('kept', [True, False])
def test_files_other_than_the_first_are_refused(
    cache: Path, file: Path, weights, tmp_path: Path, monkeypatch, kept
):
    monkeypatch.setitem(RELEASES, 'dwnet_tiny', file.as_uri())
    load()
    record = cache / f'{FILE}.sha256'
    assert record.read_text() == f'{hashlib.sha256(file.read_bytes()).hexdigest()}  {FILE}\n'
    other = authors.classifier_file(tmp_path / FILE, {k: w + 1 for k, w in weights.items()})
    if kept:  # and changed
        (cache / FILE).write_bytes(other.read_bytes())
    else:  # and another one is to be had
        (cache / FILE).unlink()
        monkeypatch.setitem(RELEASES, 'dwnet_tiny', other.as_uri())
    said = refusal()
    assert 'is not the file that was downloaded first, whose SHA-256 is in' in said
    assert str(record) in said and (cache / FILE).exists() == kept
    record.unlink()
    load()


@pytest.mark.parametrize('fault', ['truncated', 'of another model'])
def test_bad_downloads_are_not_kept(cache: Path, file: Path, tmp_path: Path, monkeypatch, fault):
    path = tmp_path / FILE
    if fault == 'truncated':
        path.write_bytes(file.read_bytes()[:1_000_000])
    else:
        torch.save(torch.nn.Linear(2, 2).state_dict(), path)
    monkeypatch.setitem(RELEASES, 'dwnet_tiny', path.as_uri())
    said = refusal()
    assert path.as_uri() in said
    assert 'cannot be read' if fault == 'truncated' else 'of no model' in said
    assert not (cache / FILE).exists()


def test_missing_files_are_told(cache: Path, tmp_path: Path, monkeypatch):
    address = f'http://127.0.0.1:9/{FILE}'  # nobody answers
    monkeypatch.setitem(RELEASES, 'dwnet_tiny', address)
    told = f'get {address} where there is a network, and put it into'
    assert f'{FILE} is not in {cache}' in refusal()
    assert f'{told} {cache}' in refusal()
    folder = tmp_path / 'mine'
    folder.mkdir()
    monkeypatch.setenv('DWNET_CHECKPOINT_DIR', str(folder))
    assert f'{told} {folder}' in refusal()


def test_truncated_files_are_told(folder: Path, file: Path):
    (folder / FILE).write_bytes(file.read_bytes()[:-1000])
    said = refusal()
    assert f'the checkpoint {folder / FILE} cannot be read' in said
    assert f'for dwnet://dwnet_tiny, get {RELEASES["dwnet_tiny"]} again' in said


def test_wrong_files_are_told(folder: Path, file: Path):
    wrong = folder / 'dynamic_dwnet_tiny_224.pth'
    wrong.symlink_to(file)
    said = refusal('dynamic_dwnet_tiny')
    assert f'{wrong} is dwnet_tiny, not dynamic_dwnet_tiny' in said
    assert RELEASES['dynamic_dwnet_tiny'] in said


def test_unknown_names_are_told():
    said = refusal('dwnet_giant')
    assert said.startswith('dwnet://dwnet_giant is not released: choose one of dwnet_tiny, ')


def test_a_folder_that_is_none_is_told(tmp_path: Path, monkeypatch):
    monkeypatch.setenv('DWNET_CHECKPOINT_DIR', str(tmp_path / 'none'))
    assert refusal().startswith(f'DWNET_CHECKPOINT_DIR={tmp_path / "none"} is not a folder')


@pytest.mark.parametrize('kind', authors.KINDS)
def test_harmful_files_are_not_run(folder: Path, tmp_path: Path, capfd, kind):
    trace = tmp_path / 'trace'
    authors.harmful_file(kind, folder / FILE, DWNet('nano').state_dict(), trace)
    with authors.extension():
        said = refusal()
    assert not trace.exists()
    # Refused as such, or else replaced, and refused for being of another size.
    assert str(folder / FILE) in said
    assert 'of no model' not in said or 'nothing was run' in capfd.readouterr().out


def test_backbones_start_from_them(folder: Path, file: Path, weights):
    (folder / FILE).symlink_to(file)
    init_cfg = dict(type='Pretrained', checkpoint='dwnet://dwnet_tiny', prefix='backbone.')
    backbone = DWNet('tiny', out_indices=(0, 1, 2, 3), init_cfg=init_cfg)
    backbone.init_weights()
    state = backbone.state_dict()
    taken = [key for key in state if key in weights]
    assert len(taken) == len(weights) - 4  # the classifier's norm and head
    for key in taken:
        torch.testing.assert_close(state[key], weights[key], rtol=0, atol=0)
