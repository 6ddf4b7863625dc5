"""Keys of configs, as users of OpenMMLab's backbones expect them to work."""

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

import mmdwnet
from mmdwnet import DWNet
from mmdwnet.errors import UserError
from mmdwnet.models.dwnet import DWBlock
from mmdwnet.ops import DepthwiseConv2d

from .models.nano import images, nano, total


@pytest.mark.parametrize('mixer', ['static', 'dynamic', 'inhomogeneous'])
@pytest.mark.parametrize('norm_cfg', [dict(type='LN'), dict(type='GN', num_groups=4)])
def test_norms_by_the_image(mixer, norm_cfg):
    backbone = nano(mixer, norm_cfg=norm_cfg, out_indices=(0, 3)).train()
    outs = backbone(images())
    total(outs).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in backbone.parameters())
    for out in outs:
        mean = (
            out.mean(1) if norm_cfg['type'] == 'LN' else out.unflatten(1, (4, -1)).mean((2, 3, 4))
        )
        torch.testing.assert_close(mean, torch.zeros_like(mean), rtol=0, atol=1e-5)


def test_layer_norms_can_be_frozen():
    backbone = nano(norm_cfg=dict(type='LN', requires_grad=False, eps=0.1))
    norms = [block.bn for stage in backbone.layers for block in stage.blocks]
    assert all(norm.eps == 0.1 and not norm.weight.requires_grad for norm in norms)


@pytest.mark.parametrize('kind', ['dynamic', 'swin_mlp'])
def test_norm_eval_keeps_the_statistics(kind):
    backbone = nano(kind, norm_eval=True, norm_cfg=dict(type='BN'), out_indices=(0, 1, 2, 3))
    before = {key: value.clone() for key, value in backbone.named_buffers()}
    backbone.train()
    assert backbone.training and backbone.layers.training
    total(backbone(images())).backward()
    assert before and all(value.equal(before[key]) for key, value in backbone.named_buffers())
    norms = [part for part in backbone.modules() if isinstance(part, _BatchNorm)]
    assert all(norm.weight.grad is not None for norm in norms)
    assert all(not norm.training for norm in norms)


def test_windows_by_the_stage():
    backbone = nano(window_size=(3, 5, 7, 9), pad_to_window=True)
    convolutions = [part for part in backbone.modules() if isinstance(part, DepthwiseConv2d)]
    assert [c.kernel_size[0] for c in convolutions] == [3, 5, 7, 7, 9]
    assert backbone(images(1, 50, 75))[0].shape == (1, 256, 2, 3)
    for sizes in ((3, 5, 7), (3, 5, 7, 8)):
        with pytest.raises(UserError, match='one for each of the 4 stages'):
            nano(window_size=sizes)


def test_what_an_ablation_changes():
    backbone = nano(in_channels=5, mlp_ratio=2.5, act_cfg=dict(type='ReLU'))
    mlp = backbone.layers[1].blocks[0].mlp
    assert mlp.fc1.weight.shape == (160, 64) and isinstance(mlp.act, nn.ReLU)
    backbone(torch.randn(1, 5, 64, 64))
    with pytest.raises(UserError, match=r'takes images as \(N, 5, H, W\)'):
        backbone(images())
    with pytest.raises(UserError, match='mlp_ratio=0'):
        nano(mlp_ratio=0)
    with pytest.raises(UserError, match="in_channels='rgb'"):
        nano(in_channels='rgb')


def test_groups_of_the_inhomogeneous_mixer():
    mixer = dict(type='inhomogeneous', groups=8)
    backbone = nano(mixer=mixer)
    assert backbone.layers[0].blocks[0].attn2conv.conv.groups == 8
    assert mixer == dict(type='inhomogeneous', groups=8)
    with pytest.raises(UserError, match='5 groups of channels, which 32 channels cannot form'):
        nano(mixer=dict(type='inhomogeneous', groups=5))


class Twice(DWBlock):
    def forward(self, x):
        return super().forward(super().forward(x))


def test_blocks_of_ones_own():
    class Deeper(DWNet):
        def build_block(self, stage, index, channels, drop_path):
            block = super().build_block(stage, index, channels, drop_path)
            block.__class__ = Twice
            return block

    backbone = Deeper('nano')
    assert all(isinstance(block, Twice) for stage in backbone.layers for block in stage.blocks)
    assert backbone(images())[0].isfinite().all()


@pytest.mark.parametrize('kind', ['static', 'swin_mlp'])
def test_learning_rates_decay_by_the_layer(kind):
    """By mmpretrain's own constructor."""
    import mmpretrain.engine  # noqa: F401

    backbone = nano(kind)
    config = dict(
        type='ImageClassifier',
        backbone=dict(type='SwinMLP' if kind == 'swin_mlp' else 'DWNet', arch=backbone.arch),
        head=dict(type='LinearClsHead', num_classes=2, in_channels=256),
    )
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(config)
        wrapper = build_optim_wrapper(
            model,
            dict(
                optimizer=dict(type='SGD', lr=1.0, weight_decay=0.1),
                constructor='LearningRateDecayOptimWrapperConstructor',
                paramwise_cfg=dict(layer_decay_rate=0.5),
            ),
        )
    rates = {id(p): group['lr'] for group in wrapper.param_groups for p in group['params']}
    lr = {name: rates[id(parameter)] for name, parameter in model.named_parameters()}
    # The embedding, 5 blocks, and what follows.
    assert lr['backbone.patch_embed.proj.weight'] == 0.5**6
    assert lr['backbone.layers.0.blocks.0.mlp.fc1.weight'] == 0.5**5
    assert lr['backbone.layers.0.downsample.reduction.weight'] == 0.5**5
    assert lr['backbone.layers.2.blocks.1.mlp.fc1.weight'] == 0.5**2
    assert lr['backbone.layers.3.blocks.0.mlp.fc1.weight'] == 0.5
    assert lr['backbone.norm.weight'] == lr['head.fc.weight'] == 1


def test_networks_are_the_backbones():
    """Without configs, of torch alone, with the same weights."""
    torch.manual_seed(0)
    network = mmdwnet.models.DWNet('nano', mixer='dynamic')
    backbone = nano('dynamic')
    backbone.load_state_dict(network.state_dict())
    assert network(images())[0].equal(backbone(images())[0])
    assert network.layers[3].blocks[0].mlp.fc1.weight.std().item() == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        (dict(arch=None), 'has no arch None'),
        (dict(arch={'a': 1, 2: 3}), r"an arch with the keys \[2, 'a'\]"),
        (dict(arch=dict(embed_dims=32, depths=2)), r'depths=\(2,\)'),
        (dict(arch=dict(embed_dims=32, depths=(True, 1, 1, 1))), r'depths=\(True, 1, 1, 1\)'),
        (dict(out_indices=None), r'out_indices=\(None,\)'),
        (dict(out_indices=['0', '1']), r"out_indices=\('0', '1'\)"),
        (dict(drop_path_rate='0.1'), "drop_path_rate='0.1'"),
        (dict(mlp_ratio='4'), "mlp_ratio='4'"),
        (dict(mlp_ratio=float('inf')), 'mlp_ratio=inf'),
        (dict(window_size=None), 'window_size=None'),
        (dict(window_size=7.0), 'window_size=7.0'),
        (dict(in_channels=True), 'in_channels=True'),
        (dict(frozen_stages=1.0), 'frozen_stages=1.0'),
        (dict(mixer=dict(type='static', groups=4)), "mixer=.*unexpected keyword argument 'groups'"),
        (dict(mixer=dict(type='inhomogeneous', groups='4')), 'within 4 groups'),
        (dict(norm_cfg='BN'), "norm_cfg='BN' cannot be built"),
        (
            dict(norm_cfg=dict(type='GN', num_groups=7)),
            'cannot be built: num_channels .32',
        ),
        (dict(act_cfg=dict(type='ReLU', a=1)), 'act_cfg=.* cannot be built'),
    ],
)
def test_what_is_of_another_type(options, sentence):
    with pytest.raises(UserError, match=sentence):
        nano(**options) if 'arch' not in options else DWNet(**options)


def test_a_fault_in_a_layer_of_ones_own_is_not_taken_for_the_configs():
    @MODELS.register_module(force=True)
    class FaultyNorm(nn.Module):
        _abbr_ = 'norm'

        def __init__(self, channels: int, eps: float = 1e-5) -> None:
            super().__init__()
            raise KeyError('mine')

    with pytest.raises(KeyError, match='mine'):
        DWNet('nano', norm_cfg=dict(type='FaultyNorm'))
