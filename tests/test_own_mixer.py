"""A mixer from a file of its own, as docs/mixer.md shows it: trained, fused, counted, compiled."""

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from complexity import measure
from mmengine.config import Config
from torch import nn

from mmdwnet import MIXERS
from mmdwnet.apis.building import build_model
from mmdwnet.deploy import compile, fuse
from mmdwnet.errors import UserError

from .configs.opening import TINY, opened
from .configs.steps import lighten, take_a_training_step
from .deploy.trained import assert_close, bns, trained
from .models.nano import images, nano

ROOT = Path(__file__).parents[1]
MIXER = dict(type='WindowAttention', heads=2)


@pytest.fixture(scope='module', autouse=True)
def module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of a module, outside the package, with the page's mixer."""
    page = (ROOT / 'docs' / 'mixer.md').read_text()
    code = re.search(r'```python\n(.*?)```', page, re.DOTALL)[1]
    assert len(code.splitlines()) <= 40 and 'def fuse' not in code
    folder = tmp_path_factory.mktemp('researcher')
    (folder / 'window_attention.py').write_text(code)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        importlib.import_module('window_attention')
        yield 'window_attention'
    del sys.modules['window_attention'], MIXERS.module_dict['WindowAttention']


def mixers(model: nn.Module) -> list[nn.Module]:
    return [part for part in model.modules() if type(part).__name__ == 'WindowAttention']


@pytest.mark.parametrize('name', TINY)
def test_trains_a_step(name: str, module: str) -> None:
    torch.manual_seed(0)
    with opened(name) as config:
        lighten(config)
        config.custom_imports.imports.append(module)
        config.model.backbone.update(mixer=MIXER, arch=dict(embed_dims=96, depths=(1, 1, 1, 1)))
        model = build_model(Config(config.to_dict(), filename=config.filename)).train()
        assert [mixer.heads for mixer in mixers(model.backbone)] == [2] * 4
        take_a_training_step(config, model)


@torch.no_grad()
@pytest.mark.parametrize('inplace', [False, True])
def test_fuses(inplace: bool) -> None:
    backbone = trained(nano(mixer=MIXER, out_indices=(0, 1, 2, 3), pad_to_window=True))
    expected = backbone(images(2, 50, 75))
    fused = fuse(backbone, inplace)
    assert bns(fused) == [] and (fused is backbone) is inplace
    for got, out in zip(fused(images(2, 50, 75)), expected, strict=True):
        assert_close(got, out)


class Broken(nn.Identity):
    """A mixer whose `fuse` cannot do what it should."""

    def __init__(self, channels, kernel_size, norm_layer):
        super().__init__()

    def fuse(self, norm):
        raise ZeroDivisionError('a fault of its own')


@torch.no_grad()
def test_a_fuse_that_fails_leaves_the_model_as_it_was() -> None:
    backbone = trained(nano(mixer=dict(type=Broken)))
    expected = backbone(images())
    with pytest.raises(ZeroDivisionError, match='a fault of its own'):
        fuse(backbone, inplace=True)
    assert len(bns(backbone)) == 5 * 4
    assert backbone(images())[0].equal(expected[0])


def test_counts() -> None:
    config = Config.fromfile(ROOT / 'tests/data/digits/dwnet_nano_digits.py')
    config.model.backbone.mixer = MIXER
    # At this size, each stage's map is padded to whole windows of 7 x 7.
    modules = measure(config, (224, 224)).modules
    channels, positions = 32, 56**2
    # Linear maps to queries, keys and values, and back; products of windows' positions.
    expected = positions * channels * (4 * channels + 2 * 7**2)
    counted = modules['backbone.layers.0.blocks.0.attn2conv.conv'].multiply_adds
    assert counted == expected


@pytest.mark.slow
@pytest.mark.usefixtures('cpp_compiler')
@torch.no_grad()
def test_compiles() -> None:
    backbone = trained(nano(mixer=MIXER))
    assert_close(compile(backbone)(images())[0], backbone(images())[0])


@pytest.mark.parametrize(
    ('mixer', 'sentence'),
    [
        (dict(type='Attention'), r"no mixer 'Attention': choose one of \[.*'WindowAttention'"),
        (dict(heads=2), 'no mixer None'),
    ],
)
def test_unknown_mixers_are_told(mixer: dict, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        nano(mixer=mixer)
