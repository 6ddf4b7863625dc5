"""Features of DWNet only: mixers, the authors' padding, BNs in the blocks."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmdwnet import DWNet
from mmdwnet.errors import UserError

from .nano import MIXERS, images, nano, total


@pytest.mark.parametrize('mixer', MIXERS)
@pytest.mark.parametrize('size', [(33, 47), (1, 1), (64, 96)])
def test_window_padding_leaves_the_shapes(mixer, size):
    plain, padded = (
        nano(mixer, out_indices=(0, 1, 2, 3), pad_to_window=pad).eval()(images(2, *size))
        for pad in (False, True)
    )
    assert [out.shape for out in padded] == [out.shape for out in plain]
    assert all(out.is_contiguous() for out in padded)


def test_window_padding_changes_only_maps_that_the_window_does_not_divide():
    plain, padded = nano().eval(), nano(pad_to_window=True).eval()
    for backbone in (plain, padded):  # a fresh BN leaves the border at 0, a trained one does not
        for name, bias in backbone.named_parameters():
            if name.endswith('bn0.bias'):
                nn.init.constant_(bias, 1.0)
    torch.testing.assert_close(plain(images(1, 224, 224)), padded(images(1, 224, 224)))
    assert not torch.allclose(plain(images(1, 64, 64))[0], padded(images(1, 64, 64))[0])


def test_norm_cfg_sets_all_but_the_layer_norms():
    backbone = nano('dynamic', out_indices=(0, 3), norm_cfg=dict(type='SyncBN', momentum=0.03))
    norms = [m for m in backbone.modules() if isinstance(m, _BatchNorm)]
    assert all(isinstance(m, nn.SyncBatchNorm) and m.momentum == 0.03 for m in norms)
    assert len(norms) == 5 * 5 + 2  # bn0, bn, bn2, bn and the predictor's in 5 blocks; outputs


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        (dict(arch='huge'), r"no arch 'huge': choose one of \['base', 'nano', 'tiny'\]"),
        (dict(arch=dict(embed_dims=32)), r"keys \['embed_dims'\]: give embed_dims and depths"),
        (dict(arch=dict(embed_dims=32, depths=(1, 1, 1))), r'depths=\(1, 1, 1\): .* 4 stages'),
        (dict(arch=dict(embed_dims=32, depths=(1, 1, 0, 1))), r'at least 1'),
        (dict(arch=dict(embed_dims=30, depths=(1, 1, 1, 1))), 'embed_dims=30'),
        (dict(window_size=6), 'window_size=6, .* odd number'),
        (dict(window_size=33), 'window_size=33, .* 3 to 31'),
        (dict(mixer='attention'), "no mixer 'attention': choose one of"),
        (
            dict(arch=dict(embed_dims=48, depths=(1, 1, 1, 1)), mixer='inhomogeneous'),
            '32 groups of channels, which 48 channels cannot form',
        ),
    ],
)
def test_arguments_that_make_no_network(options, sentence):
    with pytest.raises(UserError, match=sentence):
        DWNet(**options)


def test_dynamic_mixer_needs_two_images_to_train():
    with pytest.raises(UserError, match=r'batch of two or more, or .*SyncBN'):
        nano('dynamic').train()(images(1))
    nano('dynamic').eval()(images(1))
    nano('dynamic', frozen_stages=4).train()(images(1))


@pytest.mark.slow
@pytest.mark.usefixtures('cpp_compiler')
@pytest.mark.parametrize('mixer', MIXERS)
def test_the_default_back_end_compiles_training_as_one_graph(mixer):
    eager = nano(mixer, out_indices=0).train()
    compiled = copy.deepcopy(eager)
    compiled.compile(fullgraph=True)
    losses = [total(backbone(images())) for backbone in (eager, compiled)]
    torch.testing.assert_close(*losses)
    for loss in losses:
        loss.backward()
    for (key, a), b in zip(eager.named_parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(
            a.grad, b.grad, rtol=1e-3, atol=1e-4, msg=lambda text, key=key: f'{key}: {text}'
        )
    torch.testing.assert_close(eager.state_dict(), compiled.state_dict(), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures('compiler')
def test_a_second_graph_is_for_all_sizes_that_need_no_padding():
    backbone = nano(out_indices=(0, 1, 2, 3)).train()
    backbone.compile(fullgraph=True, backend='eager')
    for size in ((128, 160), (160, 192)):
        backbone(images(2, *size))
    with torch.compiler.set_stance('fail_on_recompile'):
        for size in ((192, 128), (160, 160), (320, 224), (96, 64)):
            total(backbone(images(2, *size))).backward()
