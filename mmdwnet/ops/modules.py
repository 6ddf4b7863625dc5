"""The three products as modules."""

import torch
from torch import Tensor, nn

from .functional import (
    depthwise_conv2d,
    dynamic_depthwise_conv2d,
    inhomogeneous_depthwise_conv2d,
)


class DepthwiseConv2d(nn.Conv2d):
    """A depth-wise convolution of stride 1 and "same" padding, with the parameters of `nn.Conv2d`.

    Args:
        channels: C of the (N, C, H, W) input and output.
        kernel_size: k, odd, from 3 to 31.
        bias: Whether to learn a bias for each channel.
    """

    def __init__(self, channels: int, kernel_size: int, bias: bool = True) -> None:
        super().__init__(
            channels, channels, kernel_size, padding=kernel_size // 2, groups=channels, bias=bias
        )

    def forward(self, input: Tensor, relu: bool = False) -> Tensor:
        """Filter (N, C, H, W) to (N, C, H, W); with `relu`, clip the result at 0."""
        return depthwise_conv2d(input, self.weight.squeeze(1), self.bias, relu=relu)


class DynamicDepthwiseConv2d(nn.Module):
    """A depth-wise convolution that takes a kernel for each image and channel as input.

    Args:
        channels: C of the (N, C, H, W) input and output.
        bias: Whether to learn a bias for each channel, the same for all images.
    """

    def __init__(self, channels: int, bias: bool = True) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels)) if bias else None

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """Filter (N, C, H, W) with (N, C, k, k) to (N, C, H, W)."""
        return dynamic_depthwise_conv2d(x, weight, self.bias)


class InhomogeneousDepthwiseConv2d(nn.Module):
    """A depth-wise convolution that takes kernels for each image and position as input."""

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """Filter (N, C, H, W) with (N, G, k, k, H, W) to (N, C, H, W)."""
        return inhomogeneous_depthwise_conv2d(x, weight)
