"""A fused DWNet computes what it did, without BNs."""

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmdwnet import get_config
from mmdwnet.apis.weights import build_model
from mmdwnet.deploy import fuse
from mmdwnet.errors import UserError

from ..models.nano import MIXERS, images, nano

CLASSIFIERS = [
    f'{mixer}dwnet_{size}' for size in ('tiny', 'base') for mixer in ('', 'dynamic_', 'i_dynamic_')
]


def stir(model: nn.Module) -> nn.Module:
    """Give BNs statistics and factors as of a trained network, negative ones among them."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            for tensor in (module.weight.data, module.bias.data, module.running_mean):
                tensor.normal_(generator=generator).mul_(0.5)
            module.weight.data.add_(0.5)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    return model.eval()


def bns(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]


def assert_equal_to_1e4(fused: torch.Tensor, unfused: torch.Tensor) -> None:
    assert (fused - unfused).abs().max() <= 1e-4 * unfused.abs().max()


def scores(model: nn.Module, image: torch.Tensor) -> list[torch.Tensor]:
    maps = model.extract_feat(image)
    if hasattr(model, 'decode_head'):
        return [model.decode_head(maps)]
    return [score for level in model.rpn_head(maps) for score in level]


@torch.no_grad()
@pytest.mark.parametrize('mixer', MIXERS)
@pytest.mark.parametrize('options', [{}, dict(out_indices=(0, 1, 2, 3), pad_to_window=True)])
def test_backbone_is_the_same_without_bns(mixer, options):
    backbone = stir(nano(mixer, **options))
    for size in ((64, 64), (50, 75)):
        expected = backbone(images(2, *size))
        fused = fuse(backbone)
        assert bns(fused) == [] and bns(backbone)
        for got, out in zip(fused(images(2, *size)), expected, strict=True):
            assert_equal_to_1e4(got, out)
            assert got.is_contiguous()


@torch.no_grad()
@pytest.mark.parametrize('name', CLASSIFIERS)
def test_classifiers_are_the_same(name):
    model = build_model(get_config(name))
    model.init_weights()
    stir(model)
    expected = model(images(1, 224, 224), mode='tensor')
    fuse(model, inplace=True)
    assert bns(model) == []
    assert_equal_to_1e4(model(images(1, 224, 224), mode='tensor'), expected)


@torch.no_grad()
@pytest.mark.parametrize(
    'name',
    ['cascade_mask_rcnn_dynamic_dwnet_tiny_3x_coco', 'upernet_i_dynamic_dwnet_tiny_160k_ade20k'],
)
def test_detectors_and_segmentors_are_the_same(name):
    cfg = get_config(name)
    cfg.model.backbone.init_cfg = None
    model = build_model(cfg)
    model.init_weights()
    stir(model.backbone)
    model.eval()
    image = images(1, 96, 128)
    # Up to the scores: which of two boxes of almost the same score comes first is chance.
    expected = scores(model, image)
    fused = fuse(model)
    assert bns(fused.backbone) == []
    assert len(bns(fused)) == len(bns(model)) - len(bns(model.backbone))
    for after, before in zip(scores(fused, image), expected, strict=True):
        assert_equal_to_1e4(after, before)


def test_copy_leaves_the_model_and_in_place_changes_it():
    backbone = stir(nano())
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    assert fuse(backbone) is not backbone
    assert all(torch.equal(before[key], value) for key, value in backbone.state_dict().items())
    assert fuse(backbone, inplace=True) is backbone
    assert bns(backbone) == []
    assert fuse(backbone, inplace=True) is backbone  # nothing is left to do


@pytest.mark.parametrize(
    ('model', 'sentence'),
    [
        (lambda: nano(), r'in training mode.* call model.eval\(\) before'),
        (lambda: nano(frozen_stages=2), 'in training mode'),
        (lambda: nn.Linear(1, 1), 'Linear has no DWNet'),
        (lambda: nano('swin_mlp').eval(), 'SwinMLP has no DWNet'),
        (
            lambda: nano(norm_cfg=dict(type='BN', track_running_stats=False)).eval(),
            'BNs without running statistics',
        ),
        (
            lambda: nano(norm_cfg=dict(type='GN', num_groups=4)).eval(),
            "has GroupNorm for its norm layers.* only norm_cfg=dict\\(type='BN'\\)",
        ),
    ],
)
def test_what_cannot_be_fused(model, sentence):
    with pytest.raises(UserError, match=sentence):
        fuse(model(), inplace=True)
