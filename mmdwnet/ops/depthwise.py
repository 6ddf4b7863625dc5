"""Depth-wise cross-correlation with kernels per image, or per image and position.

Both pad with zeros to the "same" size, with stride 1, as `torch.nn.functional.conv2d` would.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor


def dynamic_depthwise_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Filter every channel of every image with a kernel of its own.

    Args:
        x: Input, (N, C, H, W), any floating dtype and memory format.
        weight: Kernels, (N, C, k, k) with odd k.
        bias: Added to each channel, (C,), the same for all images.

    Returns:
        (N, C, H, W), of `x`'s memory format.

    Source: Han et al., ICLR 2022, section 3.2, homogeneous dynamic depth-wise convolution.
    """
    n, c, h, w = x.shape
    k = weight.shape[-1]
    # All images side by side as channels of one: a single grouped convolution does the lot.
    out = F.conv2d(
        x.reshape(1, n * c, h, w),
        weight.reshape(n * c, 1, k, k),
        None if bias is None else bias.repeat(n),
        padding=k // 2,
        groups=n * c,
    ).view(n, c, h, w)
    if x.is_contiguous(memory_format=torch.channels_last):
        out = out.contiguous(memory_format=torch.channels_last)
    return out


def inhomogeneous_depthwise_conv2d(x: Tensor, weight: Tensor) -> Tensor:
    """Filter every position with a kernel of its own, shared by a group of channels.

    The sum over the kernel's positions is accumulated in float32 at least.

    Args:
        x: Input, (N, C, H, W), any floating dtype and memory format.
        weight: Kernels, (N, G, k, k, H, W) with odd k and C divisible by G; channel c uses
            group c // (C / G).

    Returns:
        (N, C, H, W), of `x`'s dtype and memory format.

    Source: Han et al., ICLR 2022, section 3.2, inhomogeneous dynamic depth-wise convolution.
    """
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
    return out.flatten(1, 2).to(x.dtype)
