"""Views, padding and norms of feature maps."""

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

# Builds a norm layer of (N, C, H, W) for C channels.
NormLayer = Callable[[int], nn.Module]


def nhwc(x: Tensor) -> Tensor:
    """View (N, C, H, W) as (N, H, W, C)."""
    return x.permute(0, 2, 3, 1)


def nchw(x: Tensor) -> Tensor:
    """View (N, H, W, C) as (N, C, H, W)."""
    return x.permute(0, 3, 1, 2)


def missing(size: int, multiple: int) -> int:
    """Return how much to add to a size so that `multiple` divides it."""
    # Not -size % multiple, whose sign torch 2.9 gets wrong if sizes are symbolic.
    return (multiple - size % multiple) % multiple


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Zero-pad (N, C, H, W) at the bottom and right until `multiple` divides H and W."""
    if multiple == 1:
        return x
    pad_h, pad_w = (missing(size, multiple) for size in x.shape[-2:])
    # A graph of ONNX may be for other sizes than the one that it is traced with.
    if torch.onnx.is_in_onnx_export() or pad_h or pad_w:
        return F.pad(x, (0, pad_w, 0, pad_h))
    return x


class LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels of each position."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalize (N, C, H, W)."""
        return nchw(super().forward(nhwc(input)))
