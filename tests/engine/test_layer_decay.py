"""Detectors and segmentors train early layers of their backbones at lower rates."""

import pytest
from mmengine.model import BaseModule
from mmengine.optim import build_optim_wrapper
from torch import nn

from mmdwnet.errors import UserError

from ..models.nano import nano


class Detector(BaseModule):
    """A backbone, and two heads that share a layer, as those of RTMDet do."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = nn.Conv2d(256, 8, 1)
        shared = nn.Conv2d(8, 8, 1)
        self.heads = nn.ModuleList(nn.Sequential(shared, nn.BatchNorm2d(8)) for _ in range(2))


def options(model: nn.Module, **paramwise: object) -> dict[str, tuple[float, float]]:
    """Return learning rate and weight decay of each parameter that is trained."""
    wrapper = build_optim_wrapper(
        model,
        dict(
            optimizer=dict(type='AdamW', lr=1.0, weight_decay=0.5),
            constructor='LayerDecayOptimWrapperConstructor',
            paramwise_cfg=paramwise,
        ),
    )
    found = {
        parameter: (group['lr'], group['weight_decay'])
        for group in wrapper.optimizer.param_groups
        for parameter in group['params']
    }
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {names[parameter]: option for parameter, option in found.items()}


@pytest.mark.parametrize('kind', ['static', 'swin_mlp'])
def test_rates_fall_from_layer_to_layer(kind: str) -> None:
    found = options(Detector(nano(kind)), layer_decay_rate=0.5, bypass_duplicate=True)
    # The embedding, 5 blocks, and what follows.
    assert found['backbone.patch_embed.proj.weight'][0] == 0.5**6
    assert found['backbone.layers.0.blocks.0.mlp.fc1.weight'][0] == 0.5**5
    assert found['backbone.layers.0.downsample.reduction.weight'][0] == 0.5**5
    assert found['backbone.layers.2.blocks.1.mlp.fc1.weight'][0] == 0.5**2
    assert found['backbone.layers.3.blocks.0.mlp.fc1.weight'][0] == 0.5
    assert found['neck.weight'][0] == found['heads.1.1.weight'][0] == 1


def test_mmengines_other_rules_hold() -> None:
    model = Detector(nano('static'))
    model.backbone.patch_embed.proj.requires_grad_(False)
    found = options(
        model,
        layer_decay_rate=0.5,
        norm_decay_mult=0,
        bias_decay_mult=0,
        bypass_duplicate=True,
        custom_keys=dict(neck=dict(lr_mult=0.1), fc1=dict(lr_mult=0.1)),
    )
    assert 'backbone.patch_embed.proj.weight' not in found
    assert found['heads.0.0.weight'] == (1, 0.5)
    assert found['heads.0.0.bias'] == found['heads.1.1.weight'] == (1, 0)
    assert found['backbone.layers.3.blocks.0.bn.weight'] == (0.5, 0)
    assert found['neck.bias'] == (0.1, 0.5)
    assert found['backbone.layers.3.blocks.0.mlp.fc1.weight'] == (pytest.approx(0.05), 0.5)


@pytest.mark.parametrize('model', [nn.Linear(1, 1), Detector(nn.Linear(1, 1))])
def test_a_backbone_without_layers_is_refused(model: nn.Module) -> None:
    sentence = 'needs a model whose backbone has get_layer_depth, such as DWNet'
    with pytest.raises(UserError, match=sentence):
        options(model, layer_decay_rate=0.5, bypass_duplicate=True)


@pytest.mark.parametrize('given', [{}, dict(layer_decay_rate='0.8'), dict(layer_decay_rate=0)])
def test_a_rate_has_to_be_given(given: dict) -> None:
    said = f'got layer_decay_rate={given.get("layer_decay_rate")!r}: give a number above 0'
    with pytest.raises(UserError, match=said):
        options(Detector(nano('static')), **given)
