"""The feed-forward branch: linear maps over the channels of each position."""

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mmdwnet.ops.functional import HAS_ONEDNN

from .maps import nchw, nhwc
from .recompute import chain


class PositionwiseLinear(nn.Linear):
    """A `nn.Linear` over the channels of maps, by the quickest of torch's matrix products."""

    def forward(self, input: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C', H, W), both in channels-last memory."""
        if _is_quicker_as_convolution(input):
            return F.conv2d(input, self.weight[:, :, None, None], self.bias)
        return nchw(super().forward(nhwc(input)))


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


def _is_quicker_as_convolution(x: Tensor) -> bool:
    """Whether torch's 1x1 convolution of `x` is quicker than its linear layer.

    On the CPU torch gives float32 products of linear layers to MKL, those of convolutions to
    oneDNN, which took half the time on an AMD processor with AVX-512, forwards and backwards. In
    bfloat16 both go to oneDNN; there the convolution was quicker forwards, but not backwards.
    """
    if not HAS_ONEDNN or x.device.type != 'cpu':
        return False
    in_float32 = x.dtype == torch.float32 and not torch.is_autocast_enabled('cpu')
    return in_float32 or not torch.is_grad_enabled()
