"""The products as modules: parameters, and the function each of them calls."""

import torch
from torch import nn

from mmdwnet.ops import (
    DepthwiseConv2d,
    DynamicDepthwiseConv2d,
    InhomogeneousDepthwiseConv2d,
    dynamic_depthwise_conv2d,
    inhomogeneous_depthwise_conv2d,
)


def test_learned_kernels_are_a_convolutions():
    module = DepthwiseConv2d(6, 5)
    convolution = nn.Conv2d(6, 6, 5, padding=2, groups=6)
    convolution.load_state_dict(module.state_dict(), strict=True)
    x = torch.randn(2, 6, 9, 8)
    torch.testing.assert_close(module(x), convolution(x))
    assert DepthwiseConv2d(6, 5, bias=False).bias is None


def test_kernels_as_inputs():
    x, homogeneous = torch.randn(2, 6, 4, 5), torch.randn(2, 6, 3, 3)
    module = DynamicDepthwiseConv2d(6)
    nn.init.normal_(module.bias)
    expected = dynamic_depthwise_conv2d(x, homogeneous, module.bias)
    torch.testing.assert_close(module(x, homogeneous), expected)
    assert not list(DynamicDepthwiseConv2d(6, bias=False).parameters())

    inhomogeneous = torch.randn(2, 3, 3, 3, 4, 5)
    expected = inhomogeneous_depthwise_conv2d(x, inhomogeneous)
    torch.testing.assert_close(InhomogeneousDepthwiseConv2d()(x, inhomogeneous), expected)
