"""The feed-forward branch: linear maps over the channels of each position."""

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mmdwnet.ops.functional import HAS_ONEDNN

from .maps import nchw, nhwc
from .recompute import chain


class PositionwiseLinear(nn.Linear):
    """A `nn.Linear` over the channels of maps, by the fastest of torch's matrix products."""

    def forward(self, input: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C', H, W), both in channels-last memory."""
        if _is_faster_as_convolution(input):
            return F.conv2d(input, self.weight[:, :, None, None], self.bias)
        return nchw(super().forward(nhwc(input)))


class PositionwiseConv2d(nn.Conv2d):
    """A `nn.Conv2d` with kernels of 1 x 1, by the fastest of torch's matrix products."""

    def forward(self, input: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C', H, W)."""
        if input.device.type == 'cpu' and not _is_faster_as_convolution(input):
            return nchw(F.linear(nhwc(input), self.weight.flatten(1), self.bias))
        return super().forward(input)


class FeedForward(nn.Module):
    """Linear map to more channels, activation, linear map back.

    Args:
        channels: C of the (N, C, H, W) input and output.
        ratio: How many times as many channels are between the maps.
        act_layer: Makes the activation.
        recompute: Whether the backward pass computes the activation again, instead of saving its
            result.
    """

    def __init__(
        self,
        channels: int,
        recompute: bool,
        ratio: float = 4,
        act_layer: Callable[[], nn.Module] = nn.GELU,
    ) -> None:
        super().__init__()
        hidden = int(ratio * channels)
        self.fc1 = PositionwiseLinear(channels, hidden)
        self.act = act_layer()
        self.fc2 = PositionwiseLinear(hidden, channels)
        self.recompute = recompute

    def forward(self, x: Tensor) -> Tensor:
        """Transform each position of (N, C, H, W)."""
        return chain((self.act,), self.fc2, self.fc1(x), self.recompute)


def _is_faster_as_convolution(x: Tensor) -> bool:
    """Whether torch's 1x1 convolution of `x` is faster than its linear layer.

    On the CPU torch passes float32 products of linear layers to MKL, those of convolutions to
    oneDNN, which took half the time on an AMD processor with AVX-512, forward and backward. With
    one thread, convolutions of small batches do not go to oneDNN and take twice the time. In
    bfloat16 both go to oneDNN; there the convolution was faster forward, but not backward.
    """
    if not HAS_ONEDNN or x.device.type != 'cpu':
        return False
    if x.dtype != torch.float32 or torch.is_autocast_enabled('cpu'):
        return not torch.is_grad_enabled()
    return _threads() > 1 or torch.onnx.is_in_onnx_export()  # which is for other machines


@torch.compiler.assume_constant_result
def _threads() -> int:
    """Return the number of threads; asked anew by each call, or once by each compiled graph."""
    return torch.get_num_threads()
