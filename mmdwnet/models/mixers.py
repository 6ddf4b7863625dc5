"""Mixers: the modules of DWNet that mix positions.

The three mixers of the paper differ in the source of their k x k kernels:

| mixer         | kernels                                       | shape              |
|---------------|-----------------------------------------------|--------------------|
| static        | learned                                       | (C, 1, k, k)       |
| dynamic       | predicted per image, for all positions        | (N, C, k, k)       |
| inhomogeneous | predicted per position and channel group      | (N, G, k, k, H, W) |

A custom mixer is any `nn.Module` with this interface:

- `mixer(channels, kernel_size, norm_layer, **keys)` builds it from the number C of input and output
  channels, the kernel size of the stage, a function that builds a norm layer for a number of
  channels, and keys of its own, if any.
- `forward(x)` maps (N, C, H, W) to the same shape. In a block, a norm layer and a ReLU follow.
- `fuse(norm)` is optional. In evaluation mode, it folds the following BN and all BNs of the mixer
  into the mixer: `forward(x)` then returns `norm(mixer(x))`, or `relu(norm(mixer(x)))` if `fuse`
  returned True. `mmdwnet.deploy.fuse` calls it; without it, a scale and shift follow the mixer.

Submodules keep the names of the released weights.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mmdwnet.errors import UserError
from mmdwnet.ops import (
    DepthwiseConv2d,
    dynamic_depthwise_conv2d,
    inhomogeneous_depthwise_conv2d,
)

from .feed_forward import PositionwiseConv2d
from .maps import NormLayer

REDUCTION = 4


class StaticMixer(DepthwiseConv2d):
    """Depth-wise convolution with a bias: one learned kernel per channel.

    Args:
        channels: C of the (N, C, H, W) input and output.
        kernel_size: k, odd.
        norm_layer: Unused, as no kernels are predicted.
    """

    def __init__(self, channels: int, kernel_size: int, norm_layer: NormLayer) -> None:
        super().__init__(channels, kernel_size)
        self.fused = False

    def forward(self, input: Tensor, relu: bool = False) -> Tensor:
        """Mix positions: (N, C, H, W) to (N, C, H, W)."""
        return super().forward(input, relu or self.fused)

    def fuse(self, norm: nn.Module) -> bool:
        """Fold the following BN and ReLU."""
        folded = fold(self, norm)
        self.weight, self.bias = folded.weight, folded.bias
        self.fused = True
        return True


class DynamicMixer(nn.Module):
    """One kernel per image and channel, predicted from the globally pooled image.

    Args:
        channels: C of the (N, C, H, W) input and output.
        kernel_size: k, odd.
        norm_layer: Builds the norm layer of the predictor.
    """

    def __init__(self, channels: int, kernel_size: int, norm_layer: NormLayer) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        hidden = channels // REDUCTION
        self.conv1 = nn.Conv2d(channels, hidden, 1, bias=False)
        self.bn = norm_layer(hidden)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(hidden, channels * kernel_size**2, 1)
        self.bias = nn.Parameter(torch.zeros(channels))
        self.fused = False

    def forward(self, x: Tensor) -> Tensor:
        """Mix positions.

        Args:
            x: (N, C, H, W).

        Returns:
            (N, C, H, W).

        Raises:
            UserError: A BN would train on one value per channel.
        """
        n, c = x.shape[:2]
        if n == 1 and _trains_alone(self.bn):
            raise UserError(
                'the dynamic mixer cannot train on a batch of one image per process, because its '
                'BatchNorm then sees one value per channel: use a batch of two or more, or '
                "norm_cfg=dict(type='SyncBN') with several processes"
            )
        hidden = self.relu(self.bn(self.conv1(x.mean((2, 3), keepdim=True))))
        weight = self.conv2(hidden).view(n, c, self.kernel_size, self.kernel_size)
        return dynamic_depthwise_conv2d(x, weight, self.bias, relu=self.fused)

    def fuse(self, norm: nn.Module) -> bool:
        """Fold the BN of the predictor, and the following BN and ReLU."""
        self.conv1 = fold(self.conv1, self.bn)
        self.bn = nn.Identity()
        scale, shift = scale_and_shift(norm)
        assert self.conv2.bias is not None
        # The predictor has k * k rows for each channel.
        rows = scale.repeat_interleave(self.kernel_size**2)
        self.conv2.weight.data = self.conv2.weight * rows[:, None, None, None]
        self.conv2.bias.data = self.conv2.bias * rows
        self.bias.data = self.bias * scale + shift
        self.fused = True
        return True


class InhomogeneousMixer(nn.Module):
    """One kernel per image, position and group of channels, predicted from that position.

    Args:
        channels: C of the (N, C, H, W) input and output, divisible by `groups`.
        kernel_size: k, odd.
        norm_layer: Builds the norm layer of the predictor.
        groups: G, number of channel groups that share kernels. Defaults to 32, as in the paper.

    Raises:
        UserError: `groups` does not divide `channels`.
    """

    def __init__(
        self, channels: int, kernel_size: int, norm_layer: NormLayer, groups: int = 32
    ) -> None:
        super().__init__()
        if not isinstance(groups, int) or groups < 1 or channels % groups:
            raise UserError(
                f'the inhomogeneous mixer shares kernels within {groups} groups of channels, which '
                f'{channels} channels cannot form: give an embed_dims divisible by {groups}'
            )
        self.kernel_size = kernel_size
        self.groups = groups
        hidden = channels // REDUCTION
        self.conv1 = nn.Sequential(
            PositionwiseConv2d(channels, hidden, 1), norm_layer(hidden), nn.ReLU(inplace=True)
        )
        self.conv2 = nn.Sequential(nn.Conv2d(hidden, groups * kernel_size**2, 1))
        # Set by `fuse`, (C,) each: channels of a group share kernels, but not a scale.
        self.scale: Tensor | None
        self.bias: Tensor | None
        self.register_buffer('scale', None)
        self.register_buffer('bias', None)
        self.fused = False

    def forward(self, x: Tensor) -> Tensor:
        """Mix positions: (N, C, H, W) to (N, C, H, W)."""
        hidden = self.conv1(x)
        if not x.is_cuda:
            # The CPU operator reads kernels in NCHW; converting their predictor's input is cheap.
            hidden = hidden.contiguous()
        weight = self.conv2(hidden)
        weight = weight.unflatten(1, (self.groups, self.kernel_size, self.kernel_size))
        return inhomogeneous_depthwise_conv2d(
            x, weight, self.bias, scale=self.scale, relu=self.fused
        )

    def fuse(self, norm: nn.Module) -> bool:
        """Fold the BN of the predictor, and the following BN and ReLU."""
        convolution, predictor_norm, relu = self.conv1
        self.conv1 = nn.Sequential(fold(convolution, predictor_norm), relu)
        self.scale, self.bias = scale_and_shift(norm)
        self.fused = True
        return True


MIXERS: dict[str, Callable[..., nn.Module]] = {
    'static': StaticMixer,
    'dynamic': DynamicMixer,
    'inhomogeneous': InhomogeneousMixer,
}


def fold(convolution: nn.Module, norm: nn.Module) -> nn.Conv2d:
    """Return the convolution that does what a convolution and a BN after it do in evaluation."""
    assert isinstance(convolution, nn.Conv2d) and isinstance(norm, _BatchNorm)
    return fuse_conv_bn_eval(convolution, norm)


def scale_and_shift(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Return the scale and shift that a BN applies to each channel in evaluation mode."""
    assert isinstance(norm, _BatchNorm)
    assert norm.running_mean is not None and norm.running_var is not None
    scale = torch.rsqrt(norm.running_var + norm.eps)
    if norm.weight is not None:
        scale = scale * norm.weight
    shift = -norm.running_mean * scale
    return scale, shift if norm.bias is None else shift + norm.bias


def _trains_alone(norm: nn.Module) -> bool:
    """Return whether a BN computes batch statistics in this process only."""
    if not norm.training or not isinstance(norm, _BatchNorm):
        return False
    synchronized = (
        isinstance(norm, nn.SyncBatchNorm)
        and torch.distributed.is_initialized()
        and torch.distributed.get_world_size() > 1
    )
    return not synchronized
