"""A fused DWNet has the same outputs, without BNs."""

import pytest
import torch
from torch import nn

from mmdwnet import get_config
from mmdwnet.apis.building import build_model
from mmdwnet.deploy import fuse
from mmdwnet.errors import UserError

from ..models.nano import MIXERS, images, nano
from .trained import assert_close, bns, trained

CLASSIFIERS = [
    f'{mixer}dwnet_{size}' for size in ('tiny', 'base') for mixer in ('', 'dynamic_', 'i_dynamic_')
]


def scores(model: nn.Module, image: torch.Tensor) -> list[torch.Tensor]:
    maps = model.extract_feat(image)
    if hasattr(model, 'decode_head'):
        return [model.decode_head(maps)]
    return [score for level in model.rpn_head(maps) for score in level]


@torch.no_grad()
@pytest.mark.parametrize('mixer', MIXERS)
@pytest.mark.parametrize('options', [{}, dict(out_indices=(0, 1, 2, 3), pad_to_window=True)])
def test_backbone_is_the_same_without_bns(mixer, options):
    backbone = trained(nano(mixer, **options))
    for size in ((64, 64), (50, 75)):
        expected = backbone(images(2, *size))
        fused = fuse(backbone)
        assert bns(fused) == [] and bns(backbone)
        for got, out in zip(fused(images(2, *size)), expected, strict=True):
            assert_close(got, out)
            assert got.is_contiguous()


@torch.no_grad()
@pytest.mark.parametrize(
    'name',
    [
        pytest.param(name, marks=pytest.mark.slow if name.endswith('base') else ())
        for name in CLASSIFIERS
    ],
)
def test_classifiers_are_the_same(name):
    model = build_model(get_config(name))
    model.init_weights()
    trained(model)
    expected = model(images(1, 224, 224), mode='tensor')
    fuse(model, inplace=True)
    assert bns(model) == []
    assert_close(model(images(1, 224, 224), mode='tensor'), expected)


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
    trained(model.backbone)
    model.eval()
    image = images(1, 96, 128)
    # Compare scores only: the order of boxes with nearly equal scores is arbitrary.
    expected = scores(model, image)
    fused = fuse(model)
    assert bns(fused.backbone) == []
    assert len(bns(fused)) == len(bns(model)) - len(bns(model.backbone))
    for after, before in zip(scores(fused, image), expected, strict=True):
        assert_close(after, before)


def test_copy_leaves_the_model_and_in_place_changes_it():
    backbone = trained(nano())
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    assert fuse(backbone) is not backbone
    assert all(torch.equal(before[key], value) for key, value in backbone.state_dict().items())
    assert fuse(backbone, inplace=True) is backbone
    assert bns(backbone) == []
    assert fuse(backbone, inplace=True) is backbone  # already fused


def test_other_parts_stay_in_their_mode():
    model = nn.Sequential(trained(nano()), nn.Dropout())
    model[1].train()
    fuse(model, inplace=True)
    assert model[1].training
    assert not any(part.training for part in model[0].modules())


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
