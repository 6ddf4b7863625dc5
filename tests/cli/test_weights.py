import pickle
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmdwnet import DWNet
from mmdwnet.apis.building import build_model
from mmdwnet.checkpoints import RELEASES
from mmdwnet.checkpoints.reading import read_foreign
from mmdwnet.cli import convert

from ..checkpoints import authors, payloads

RELEASE = 'http://127.0.0.1:9/dwnet_nano_224.pth'  # nobody answers


@pytest.fixture
def checkpoint(config, tmp_path: Path) -> Path:
    """Weights of the demo's classifier, untrained."""
    path = tmp_path / 'weights.pth'
    torch.save(dict(state_dict=build_model(Config.fromfile(config)).state_dict()), path)
    return path


@pytest.fixture
def with_arch(config, tmp_path: Path) -> Callable[[dict], str]:
    """Writes a config of the demo's classifier with another arch; returns its path."""

    def write(arch: dict) -> str:
        path = tmp_path / 'other.py'
        backbone = dict(arch=dict(_delete_=True, **arch))
        path.write_text(f'_base_ = {config!r}\nmodel = dict(backbone={backbone})\n')
        return str(path)

    return write


@pytest.fixture(scope='module')
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file like the released ones."""
    torch.manual_seed(0)
    head = {'head.weight': torch.randn(10, 256), 'head.bias': torch.randn(10)}
    path = tmp_path_factory.mktemp('released') / 'dwnet_nano_224.pth'
    return authors.classifier_file(path, {**DWNet('nano').state_dict(), **head})


@pytest.fixture
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch) -> Path:
    """An empty cache of torch hub; the nano model is released, but nowhere to be had."""
    home = tmp_path_factory.mktemp('torch')
    monkeypatch.setenv('TORCH_HOME', str(home))
    monkeypatch.delenv('DWNET_CHECKPOINT_DIR', raising=False)
    monkeypatch.setitem(RELEASES, 'dwnet_nano', RELEASE)
    return home / 'hub' / 'checkpoints'


@pytest.fixture
def released(release: Path, cache: Path, monkeypatch) -> None:
    """Make sure that dwnet://dwnet_nano is there."""
    monkeypatch.setenv('DWNET_CHECKPOINT_DIR', str(release.parent))


@pytest.mark.parametrize('args', [('test', 'no.pth'), ('train', '--resume', 'no.pth')])
def test_missing_checkpoint_is_refused(refusal, config, args):
    name, *rest = args
    assert refusal(name, config, *rest).startswith('no checkpoint at no.pth')


def test_missing_checkpoint_to_start_from_is_refused(refusal, config):
    assert refusal('train', config, changes=('load_from=no.pth',)).startswith('no checkpoint at')
    changes = (
        'model.backbone.init_cfg.type=Pretrained',
        'model.backbone.init_cfg.checkpoint=no.pth',
    )
    assert refusal('train', config, changes=changes).startswith('no checkpoint at no.pth')


class Program:
    """Pickles as a call that makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_program_in_a_checkpoint_is_not_run(refusal, config, checkpoint: Path, tmp_path: Path):
    trace = tmp_path / 'trace'
    torch.save(torch.load(checkpoint) | dict(extra=Program(trace)), checkpoint)
    for name, *args in (('test', str(checkpoint)), ('train', '--resume', str(checkpoint))):
        assert 'holds more than data' in refusal(name, config, *args)
    assert not trace.exists()


@pytest.mark.parametrize('way', ['test', 'resume', 'load_from', 'init_cfg', 'convert', 'release'])
def test_payloads_do_no_harm(command, config, checkpoint: Path, cache, tmp_path, monkeypatch, way):
    weights = torch.load(checkpoint)['state_dict']
    file = str(tmp_path / Path(RELEASE).name)
    monkeypatch.setenv('DWNET_CHECKPOINT_DIR', str(tmp_path))
    pretrained = (
        'model.backbone.init_cfg.type=Pretrained',
        f'model.backbone.init_cfg.checkpoint={file}',
        'model.backbone.init_cfg.prefix=backbone.',
    )
    run = {
        'test': lambda: command('test', config, file)[0],
        'resume': lambda: command('train', config, '--resume', file)[0],
        'load_from': lambda: command('train', config, changes=(f'load_from={file}',))[0],
        'init_cfg': lambda: command('train', config, changes=pretrained)[0],
        'convert': lambda: convert.main([file, str(tmp_path / 'y.pth'), '--reverse']),
        'release': lambda: command('test', config, 'dwnet://dwnet_nano')[0],
    }[way]
    for payload in payloads.PAYLOADS.values():
        payloads.write(Path(file), payload, state_dict=weights, meta={}, optimizer={})
        with payloads.harm() as harmed:
            code = run()
        assert not harmed
        # The converter takes the weights, with something inert in the place of the rest.
        assert code == 2 or way == 'convert'


def test_histories_go_on_after_resuming(command, config, tmp_path: Path):
    work_dir = tmp_path / 'work'

    def losses(name: str) -> list[float]:
        hub = torch.load(work_dir / name, weights_only=False)['message_hub']
        return hub['log_scalars']['train/loss'].data[0].tolist()

    assert command('train', config)[0] == 0
    first = losses('epoch_1.pth')
    assert command('train', config, '--resume', changes=('train_cfg.max_epochs=2',))[0] == 0
    assert losses('epoch_2.pth')[: len(first)] == first
    assert len(losses('epoch_2.pth')) == 2 * len(first) > 0


@pytest.mark.parametrize('fault', ['truncated', 'text', 'list'])
def test_corrupt_checkpoint_is_refused(refusal, config, checkpoint: Path, fault):
    if fault == 'truncated':
        checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
    elif fault == 'text':
        checkpoint.write_text('<html>not found</html>')
    else:
        torch.save([1, 2], checkpoint)
    for name, *args in (('test', str(checkpoint)), ('train', '--resume', str(checkpoint))):
        said = refusal(name, config, *args)
        assert str(checkpoint) in said
        assert (
            'is not a checkpoint but a list' in said
            if fault == 'list'
            else 'cannot be read' in said
        )


def test_checkpoint_of_another_architecture_is_refused(refusal, with_arch, checkpoint: Path):
    # One block less in the third stage, and twice the classes.
    other = with_arch(dict(embed_dims=32, depths=(1, 1, 1, 1)))
    changes = ('model.head.num_classes=20',)
    said = refusal('test', other, str(checkpoint), changes=changes)
    # A block: 3 convolutions (one with bias), 4 BNs of 5 entries, 2 linear layers with biases.
    assert '28 keys (backbone.layers.2.blocks.1.' in said and 'unexpected' in said
    assert '2 keys (head.fc.weight, head.fc.bias) of another shape' in said
    assert 'missing' not in said


def test_missing_keys_are_counted(refusal, config, checkpoint: Path):
    weights = torch.load(checkpoint)
    del weights['state_dict']['head.fc.bias']
    torch.save(weights, checkpoint)
    assert '1 key (head.fc.bias) missing' in refusal('test', config, str(checkpoint))
    assert '1 key (head.fc.bias) missing' in refusal('train', config, '--resume', str(checkpoint))


def test_bare_weights_cannot_be_resumed(refusal, config, checkpoint: Path):
    assert 'nothing to resume from' in refusal('train', config, '--resume', str(checkpoint))


def test_checkpoint_with_nothing_for_the_model_is_refused(refusal, config, tmp_path: Path):
    path = tmp_path / 'other.pth'
    torch.save(torch.nn.Linear(2, 2).state_dict(), path)
    said = refusal('train', config, changes=(f'load_from={path}',))
    assert 'has nothing for ImageClassifier: it has 2 keys (weight, bias)' in said
    changes = (
        'model.backbone.init_cfg.type=Pretrained',
        f'model.backbone.init_cfg.checkpoint={path}',
        'model.backbone.init_cfg.prefix=backbone.',
    )
    assert 'has nothing for DWNet: it has 0 keys' in refusal('train', config, changes=changes)


@pytest.mark.parametrize(
    ('change', 'sentence'),
    [
        ('arch=huge', "DWNet has no arch 'huge'"),
        ('out_indices=(2,4)', 'DWNet got out_indices=(2, 4)'),
        ('window_size=6', 'DWNet got window_size=6'),
        ('mixer=quadratic', "DWNet has no mixer 'quadratic'"),
        ('width=6', "unexpected keyword argument 'width'"),
        ('type=DWNott', 'DWNott is not in the'),
    ],
)
def test_impossible_backbone_is_refused(refusal, config, change, sentence):
    said = refusal('train', config, changes=(f'model.backbone.{change}',))
    assert sentence in said


def test_wrong_number_of_stages_is_refused(refusal, with_arch):
    said = refusal('train', with_arch(dict(embed_dims=32, depths=(1, 1, 1))))
    assert 'DWNet got depths=(1, 1, 1)' in said


# SyncBN has nothing to synchronize with if there is one process.
@pytest.mark.parametrize('norm', ['BN', 'SyncBN'])
def test_dynamic_mixer_on_single_images_is_refused(refusal, config, norm):
    changes = (
        'model.backbone.mixer=dynamic',
        f'model.backbone.norm_cfg.type={norm}',
        'train_dataloader.batch_size=1',
    )
    said = refusal('train', config, changes=changes)
    assert re.search('use a batch of two or more.*SyncBN', said)


def test_released_weights_are_tested(command, config, released, release: Path, tmp_path: Path):
    converted = [str(tmp_path / name) for name in ('x.pth', 'x.safetensors')]
    for path in converted:
        assert convert.main([str(release), path]) == 0
    scores = []
    for weights in ('dwnet://dwnet_nano', *converted):
        out = tmp_path / 'x.pkl'
        args = (weights, '--out', str(out))
        assert command('test', config, *args) == (0, '')
        scores.append(torch.stack([p['pred_score'] for p in pickle.loads(out.read_bytes())]))
    assert all(torch.equal(other, scores[0]) for other in scores[1:])
    assert scores[0].std() > 0


def test_training_starts_from_released_weights(command, config, released, release, tmp_path: Path):
    still = ('optim_wrapper.optimizer.lr=0.0', 'param_scheduler=None')
    pretrained = (
        'model.backbone.init_cfg.type=Pretrained',
        'model.backbone.init_cfg.checkpoint=dwnet://dwnet_nano',
        'model.backbone.init_cfg.prefix=backbone.',
    )
    for changes in (('load_from=dwnet://dwnet_nano',), pretrained):
        assert command('train', config, changes=(*still, *changes))[0] == 0
        state = torch.load(tmp_path / 'work' / 'epoch_1.pth', weights_only=False)['state_dict']
        weights = read_foreign(release)[0]['model']
        taken = state['backbone.layers.3.blocks.0.mlp.fc1.weight']
        assert torch.equal(taken, weights['module.layers.3.blocks.0.mlp.fc1.weight'])


def test_released_weights_are_not_resumed(refusal, config, released):
    said = refusal('train', config, '--resume', 'dwnet://dwnet_nano')
    assert said.startswith('training cannot be resumed from dwnet://dwnet_nano')


@pytest.mark.parametrize('fault', ['missing', 'truncated', 'wrong', 'unknown'])
def test_released_weights_that_cannot_be_had_are_told(
    refusal, config, cache: Path, release: Path, fault
):
    cache.mkdir(parents=True)
    file = cache / 'dwnet_nano_224.pth'
    if fault == 'truncated':
        file.write_bytes(release.read_bytes()[:10_000])
    elif fault == 'wrong':
        authors.classifier_file(file, DWNet('nano', 'dynamic').state_dict())
    told = {
        'missing': f'get {RELEASE} where there is a network, and put it into {cache}',
        'truncated': f'the checkpoint {file} cannot be read',
        'wrong': f'{file} has the backbone of dynamic_dwnet_nano, but no head',
        'unknown': 'dwnet://dwnet_giant is not released: choose one of dwnet_tiny,',
    }[fault]
    name = 'dwnet://dwnet_giant' if fault == 'unknown' else 'dwnet://dwnet_nano'
    assert told in refusal('test', config, name)
    assert told in refusal('train', config, changes=(f'load_from={name}',))
    pretrained = (
        'model.backbone.init_cfg.type=Pretrained',
        f'model.backbone.init_cfg.checkpoint={name}',
    )
    assert told in refusal('train', config, changes=pretrained)


@pytest.mark.parametrize('kind', authors.KINDS)
def test_harmful_files_are_not_run(refusal, config, cache: Path, tmp_path_factory, kind):
    folder = tmp_path_factory.mktemp('harmful')
    path, trace = folder / 'x.pth', folder / 'trace'
    authors.harmful_file(kind, path, DWNet('nano').state_dict(), trace)
    with authors.extension():
        assert str(path) in refusal('test', config, str(path))
    assert not trace.exists()


class Files(SimpleHTTPRequestHandler):
    """Serves a folder without a word."""

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A folder, and where it is served."""
    folder = tmp_path_factory.mktemp('served')
    with ThreadingHTTPServer(('127.0.0.1', 0), partial(Files, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f'http://127.0.0.1:{server.server_port}'
        server.shutdown()


def test_weights_behind_an_address_are_tested(command, config, checkpoint, cache: Path, address):
    folder, url = address
    (folder / 'a.pth').write_bytes(checkpoint.read_bytes())
    assert command('test', config, f'{url}/a.pth')[0] == 0
    assert (cache / 'a.pth').read_bytes() == checkpoint.read_bytes()


def test_programs_behind_an_address_are_not_run(
    refusal, config, checkpoint, cache: Path, address, tmp_path_factory
):
    folder, url = address
    trace = tmp_path_factory.mktemp('trace') / 'trace'
    held = torch.load(checkpoint)
    torch.save(held | dict(extra=Program(trace)), folder / 'a.pth')
    for args in (('test', config, f'{url}/a.pth'), ('train', config, '--resume', f'{url}/a.pth')):
        assert f'the checkpoint {url}/a.pth holds more than data' in refusal(*args)
    # Nor are they if someone put them into the cache.
    shutil.copy(folder / 'a.pth', cache / 'a.pth')
    assert f'the checkpoint {url}/a.pth holds more than data' in refusal(
        'train', config, changes=(f'load_from={url}/a.pth',)
    )
    assert not trace.exists()
    assert 'cannot be downloaded (HTTP Error 404' in refusal('test', config, f'{url}/none.pth')
