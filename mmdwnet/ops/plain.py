"""Backend 'torch': the products composed of differentiable torch functions.

Slow, but it runs wherever torch does, and exports to formats without our operators.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from .layout import memory_format


def depthwise_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, relu: bool) -> Tensor:
    """Compute the homogeneous product; `weight` is (N, C, k, k), or (1, C, k, k) for all images."""
    n, c, h, w = x.shape
    k = weight.shape[-1]
    if n == 0:
        weight = weight.sum(0, keepdim=True)  # nothing to filter; the graph stays connected
    # Images with kernels of their own lie side by side as channels of one.
    side_by_side = len(weight)
    out = F.conv2d(
        x.reshape(n // side_by_side, side_by_side * c, h, w),
        weight.reshape(side_by_side * c, 1, k, k),
        None if bias is None else bias.repeat(side_by_side),
        padding=k // 2,
        groups=side_by_side * c,
    ).view(n, c, h, w)
    out = out.contiguous(memory_format=memory_format(x))
    return out.relu() if relu else out


def inhomogeneous_depthwise_conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None, scale: Tensor | None, relu: bool
) -> Tensor:
    """Compute the inhomogeneous product, accumulated in float32 at least."""
    h, w = x.shape[-2:]
    groups, k = weight.shape[1:3]
    dtype = torch.promote_types(x.dtype, torch.float32)
    padded = F.pad(x.to(dtype), [k // 2] * 4).unflatten(1, (groups, -1))
    weight = weight.to(dtype).unsqueeze(2)
    # One tap of the kernel after the other, so that the k * k shifted copies of x, which
    # `unfold` would write out, never exist at once.
    taps = (
        padded[..., i : i + h, j : j + w] * weight[:, :, :, i, j]
        for i in range(k)
        for j in range(k)
    )
    out = next(taps)
    for tap in taps:
        out = out + tap
    out = out.flatten(1, 2)
    if scale is not None:
        out = out * scale[:, None, None]
    if bias is not None:
        out = out + bias[:, None, None]
    if relu:
        out = out.relu()
    return out.to(x.dtype).contiguous(memory_format=memory_format(x))
