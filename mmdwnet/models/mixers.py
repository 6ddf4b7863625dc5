"""The three mixers of DWNet: they differ in where the weights of the k x k product come from.

| mixer         | weights                                       | shape              |
|---------------|-----------------------------------------------|--------------------|
| static        | learned                                       | (C, 1, k, k)       |
| dynamic       | predicted from the image, for all positions   | (N, C, k, k)       |
| inhomogeneous | predicted from each position, per group       | (N, G, k, k, H, W) |

Sub-modules carry the names that the released weights use.
"""

import torch
from mmcv.cnn import build_norm_layer
from torch import Tensor, nn

from mmdwnet.errors import UserError
from mmdwnet.ops import (
    DepthwiseConv2d,
    dynamic_depthwise_conv2d,
    inhomogeneous_depthwise_conv2d,
)

REDUCTION = 4


class StaticMixer(DepthwiseConv2d):
    """One learned kernel per channel, with a bias: a plain depth-wise convolution.

    Args:
        channels: C of the (N, C, H, W) input and output.
        kernel_size: k, odd.
        norm_cfg: Not used: the static mixer predicts nothing, so normalises nothing.
    """

    def __init__(self, channels: int, kernel_size: int, norm_cfg: dict) -> None:
        super().__init__(channels, kernel_size)


class DynamicMixer(nn.Module):
    """One kernel per image and channel, predicted from the globally pooled image.

    Args:
        channels: C of the (N, C, H, W) input and output.
        kernel_size: k, odd.
        norm_cfg: Config of the norm layer in the predictor.
    """

    def __init__(self, channels: int, kernel_size: int, norm_cfg: dict) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        hidden = channels // REDUCTION
        self.conv1 = nn.Conv2d(channels, hidden, 1, bias=False)
        self.bn = build_norm_layer(norm_cfg, hidden)[1]
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(hidden, channels * kernel_size**2, 1)
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, relu: bool = False) -> Tensor:
        """Mix positions.

        Args:
            x: (N, C, H, W).
            relu: Whether to clip the result at 0.

        Returns:
            (N, C, H, W).

        Raises:
            UserError: If the norm layer would have to train on one value per channel.
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
        return dynamic_depthwise_conv2d(x, weight, self.bias, relu=relu)


class InhomogeneousMixer(nn.Module):
    """One kernel per image, position and group of channels, predicted from that position.

    Args:
        channels: C of the (N, C, H, W) input and output, divisible by `groups`.
        kernel_size: k, odd.
        norm_cfg: Config of the norm layer in the predictor.
        groups: G, the number of channel groups that share kernels; the paper has 32 everywhere.
    """

    def __init__(self, channels: int, kernel_size: int, norm_cfg: dict, groups: int = 32) -> None:
        super().__init__()
        if channels % groups:
            raise UserError(
                f'the inhomogeneous mixer shares kernels within {groups} groups of channels, which '
                f'{channels} channels cannot form: give an embed_dims divisible by {groups}'
            )
        self.kernel_size = kernel_size
        self.groups = groups
        hidden = channels // REDUCTION
        self.conv1 = nn.Sequential(
            nn.Conv2d(channels, hidden, 1),
            build_norm_layer(norm_cfg, hidden)[1],
            nn.ReLU(inplace=True),
        )
        self.conv2 = nn.Sequential(nn.Conv2d(hidden, groups * kernel_size**2, 1))
        # What `mmdwnet.deploy.fuse` makes of the BN that follows, (C,) each.
        self.scale: Tensor | None
        self.bias: Tensor | None
        self.register_buffer('scale', None)
        self.register_buffer('bias', None)

    def forward(self, x: Tensor, relu: bool = False) -> Tensor:
        """Mix positions.

        Args:
            x: (N, C, H, W).
            relu: Whether to clip the result at 0.

        Returns:
            (N, C, H, W).
        """
        hidden = self.conv1(x)
        if not x.is_cuda:
            # On the CPU the product reads maps of kernels in NCHW: turned round here, before they
            # are predicted, that costs little.
            hidden = hidden.contiguous()
        weight = self.conv2(hidden)
        weight = weight.unflatten(1, (self.groups, self.kernel_size, self.kernel_size))
        return inhomogeneous_depthwise_conv2d(x, weight, self.bias, scale=self.scale, relu=relu)


MIXERS = {
    'static': StaticMixer,
    'dynamic': DynamicMixer,
    'inhomogeneous': InhomogeneousMixer,
}


def _trains_alone(norm: nn.Module) -> bool:
    """Whether a BN takes its statistics from this process's batch alone."""
    if not norm.training or not isinstance(norm, nn.modules.batchnorm._BatchNorm):
        return False
    synchronised = (
        isinstance(norm, nn.SyncBatchNorm)
        and torch.distributed.is_initialized()
        and torch.distributed.get_world_size() > 1
    )
    return not synchronised
