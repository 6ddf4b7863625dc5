"""Features of Swin-MLP only: windows, their shift, and padding."""

import pytest
import torch
from torch import nn

from mmdwnet.errors import UserError
from mmdwnet.models import SwinMLP
from mmdwnet.models.swin_mlp import SpatialMLP

from .nano import SWIN_MLP, nano


def mixed_by_loops(mlp: SpatialMLP, x: torch.Tensor, k: int, shift: int) -> torch.Tensor:
    """Mix positions as in the release: pad, shift by padding, mix each window, crop."""
    n, h, w, c = x.shape
    heads = mlp.groups
    weight = mlp.weight.view(heads, k * k, k * k)
    bias = mlp.bias.view(heads, k * k)
    before, after = (k - shift, shift) if shift else (0, 0)
    padded_h, padded_w = (size + -size % k + before + after for size in (h, w))
    padded = x.new_zeros(n, padded_h, padded_w, c)
    padded[:, before : before + h, before : before + w] = x
    out = torch.empty_like(padded)
    for top in range(0, padded_h, k):
        for left in range(0, padded_w, k):
            for channel in range(c):
                head = channel // (c // heads)
                window = padded[:, top : top + k, left : left + k, channel].flatten(1)
                mixed = torch.stack([window @ row for row in weight[head]], 1) + bias[head]
                out[:, top : top + k, left : left + k, channel] = mixed.view(n, k, k)
    return out[:, before : before + h, before : before + w]


@pytest.mark.parametrize(('window', 'shifts'), [(1, [0]), (4, [0, 2]), (7, [0, 3])])
@pytest.mark.parametrize('size', [(14, 8), (5, 9), (3, 2)])
def test_windows_are_mixed_as_defined(window, shifts, size):
    for shift in shifts:
        mlp = SpatialMLP(num_heads=2, window_size=window, shift=shift).double()
        nn.init.normal_(mlp.bias)
        x = torch.randn(2, *size, 6, dtype=torch.float64)
        torch.testing.assert_close(mlp(x), mixed_by_loops(mlp, x, window, shift))


def positions_mixed_into_the_first(block: nn.Module, side: int) -> int:
    x = torch.randn(1, 32, side, side, requires_grad=True)
    mixed = block.spatial_mlp(x.permute(0, 2, 3, 1))
    mixed[0, 0, 0].square().sum().backward()
    return int(x.grad.any(1).sum())


@pytest.mark.parametrize(
    ('img_size', 'windows', 'shifted'),
    [
        (128, [4, 4, 4, 4], [True, True, True, False]),  # maps of 32, 16, 8 and 4
        (None, [4, 4, 4, 4], [True, True, True, False]),  # as 128
        (100, [4, 4, 4, 4], [True, True, True, False]),  # of 25, 13, 7 and 4
        (32, [4, 4, 2, 1], [True, False, False, False]),  # of 8, 4, 2 and 1
        (512, [4, 4, 4, 4], [True, True, True, True]),
    ],
)
def test_img_size_decides_where_windows_shrink_and_shift(img_size, windows, shifted):
    arch = dict(embed_dims=32, depths=(2, 2, 2, 2), num_heads=(1, 1, 1, 1), window_size=4)
    backbone = SwinMLP(arch, img_size=img_size)
    for stage, window, shifts in zip(backbone.layers, windows, shifted, strict=True):
        assert [b.spatial_mlp.weight.shape[1] for b in stage.blocks] == [window**2] * 2
        # A quarter of a window that is shifted by half lies in the corner of the map.
        reach = [positions_mixed_into_the_first(block, side=32) for block in stage.blocks]
        assert reach == [window**2, window**2 // 4 if shifts else window**2]


def test_norm_cfg_sets_the_norms_of_outputs_alone():
    backbone = nano('swin_mlp', out_indices=(0, 3), norm_cfg=dict(type='SyncBN', momentum=0.03))
    synchronized = [k for k, m in backbone.named_modules() if isinstance(m, nn.SyncBatchNorm)]
    assert synchronized == ['norm0', 'norm3']
    assert backbone.norm0.momentum == 0.03


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        (dict(arch='tiny'), r"\['base', 'tiny_c12', 'tiny_c24', 'tiny_c6'\], or give a dict"),
        (
            dict(arch=dict(embed_dims=32, depths=(1, 1, 1, 1))),
            r"keys \['depths', 'embed_dims'\]: give embed_dims, depths, num_heads and window_size",
        ),
        (dict(arch={**SWIN_MLP, 'embed_dims': 0}), 'embed_dims=0: give a positive'),
        (dict(arch={**SWIN_MLP, 'window_size': 3.5}), 'window_size=3.5: give a positive'),
        (dict(arch={**SWIN_MLP, 'num_heads': (1, 2, 4)}), r'num_heads=\(1, 2, 4\): .* 4 stages'),
        (dict(arch={**SWIN_MLP, 'num_heads': (3, 3, 3, 3)}), r'a divisor of its 32 \* 2\*\*i'),
        (dict(img_size=(256, 256)), r'img_size=\(256, 256\): give the side of square images'),
    ],
)
def test_arguments_that_make_no_network(options, sentence):
    with pytest.raises(UserError, match=f'^SwinMLP .*{sentence}'):
        SwinMLP(**options)
