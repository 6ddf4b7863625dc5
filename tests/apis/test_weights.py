import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmdwnet.apis.weights import build_model


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
        assert 'is no checkpoint' in said if fault == 'list' else 'cannot be read' in said


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


# SyncBN has nothing to synchronise with where there is one process.
@pytest.mark.parametrize('norm', ['BN', 'SyncBN'])
def test_dynamic_mixer_on_single_images_is_refused(refusal, config, norm):
    changes = (
        'model.backbone.mixer=dynamic',
        f'model.backbone.norm_cfg.type={norm}',
        'train_dataloader.batch_size=1',
    )
    said = refusal('train', config, changes=changes)
    assert re.search('use a batch of two or more.*SyncBN', said)
