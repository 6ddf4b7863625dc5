"""Backend 'cpu': the fastest compositions of torch's CPU kernels, as measured.

They compute the same on other devices, where they stand in for Triton if it fails.

What the measurements said (AVX-512, oneDNN 3.12, kernels of 7 x 7):

- oneDNN's gradient for depth-wise weights takes 3 to 15 times as long as the forward product. The
  same sums are a forward product too: of the input, with each channel of the output's gradient as
  one kernel as large as the map. That takes 1.5 to 3 times as long as the forward product.
- oneDNN's channels-last product is the fastest, image by image where kernels differ between
  images. In NCHW one product with all images side by side is faster, up to 7 x 7 kernels; with
  larger ones NCHW is an order of magnitude slower than channels-last.
- The inhomogeneous product is bound by memory: its terms are accumulated tap by tap in a part of
  the output that stays in the cache.
"""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.nn.grad import conv2d_weight

from .layout import memory_format

# Elements of x that each thread works on: a few copies of them fit into a core's cache.
_CHUNK = 2**18
# Larger kernels are slow in NCHW; weight gradients of small ones are fast in oneDNN.
_LARGE = 7
_SMALL = 3


def depthwise_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, relu: bool) -> Tensor:
    """Compute the homogeneous product; `weight` is (N, C, k, k), or (1, C, k, k) for all images."""
    # Without AVX-512-FP16, torch's float16 convolution is slower than two conversions.
    dtype = torch.float32 if x.dtype == torch.float16 else x.dtype
    n, c, h, w = x.shape
    if n == 0:
        return torch.empty_like(x)
    k = weight.shape[-1]
    layout = _fastest(x, k)
    inputs = x.to(dtype).contiguous(memory_format=layout)
    weight = weight.to(dtype)
    bias = None if bias is None else bias.to(dtype)
    if len(weight) == 1:
        out = _convolve(inputs, weight[0], bias)
    elif layout == torch.channels_last:
        out = torch.empty_like(inputs)
        for i in range(n):
            out[i] = _convolve(inputs[i : i + 1], weight[i], bias)[0]
    else:
        repeated = None if bias is None else bias.repeat(n)
        out = _convolve(inputs.view(1, n * c, h, w), weight.reshape(n * c, k, k), repeated)
        out = out.view(n, c, h, w)
    return (out.relu_() if relu else out).to(x.dtype)


def depthwise_conv2d_weight_grad(grad: Tensor, x: Tensor, k: int, shared: bool) -> Tensor:
    """Compute the gradient for the weight: (N, C, k, k), or (1, C, k, k), summed if `shared`."""
    n, c, h, w = x.shape
    original, dtype = x.dtype, torch.promote_types(x.dtype, torch.float32)
    layout = _fastest(x, k)
    x, grad = (t.contiguous(memory_format=layout) for t in (x, grad))
    if n == 0:
        out = x.new_zeros(int(shared), c, k, k)
    elif shared and (k <= _SMALL or not x.is_cpu):
        out = conv2d_weight(
            x.to(dtype), (c, 1, k, k), grad.to(dtype), padding=k // 2, groups=c
        ).view(1, c, k, k)
    elif layout == torch.channels_last:
        # Converted image by image, which copies no whole batch.
        images = (_correlate(x[i : i + 1].to(dtype), grad[i].to(dtype), k) for i in range(n))
        out = sum(images, torch.zeros((), dtype=dtype)) if shared else torch.cat([*images])
    else:
        x, grad = x.view(1, n * c, h, w).to(dtype), grad.view(n * c, h, w).to(dtype)
        out = _correlate(x, grad, k).view(n, c, k, k)
        out = out.sum(0, keepdim=True) if shared else out
    return out.to(original)


def inhomogeneous_depthwise_conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None, scale: Tensor | None, relu: bool
) -> Tensor:
    """Compute the inhomogeneous product of x, (N, C, H, W), and weight, (N, G, k, k, H, W)."""
    h, w = x.shape[-2:]
    groups, k = weight.shape[1:3]
    dtype = torch.promote_types(x.dtype, torch.float32)
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    grouped = out.unflatten(1, (groups, -1))
    if scale is not None:
        scale = scale.to(dtype).view(groups, -1, 1, 1)
    if bias is not None:
        bias = bias.to(dtype).view(groups, -1, 1, 1)
    x = x.contiguous().unflatten(1, (groups, -1))
    for part in _parts(x):
        padded = F.pad(x[part].to(dtype), [k // 2] * 4)
        kernels = weight[part].contiguous()
        acc = torch.zeros_like(x[part], dtype=dtype)
        for j in range(k):
            # Shifted sideways once for all rows, so that what follows is contiguous.
            shifted = padded[..., j : j + w].contiguous()
            for i in range(k):
                acc.addcmul_(shifted[..., i : i + h, :], _tap(kernels, i, j, dtype))
        if scale is not None:
            acc.mul_(scale[part[1]])
        if bias is not None:
            acc.add_(bias[part[1]])
        grouped[part] = acc.relu_() if relu else acc
    return out


def inhomogeneous_depthwise_conv2d_input_grad(grad: Tensor, weight: Tensor) -> Tensor:
    """Compute the gradient for x, (N, C, H, W)."""
    h, w = grad.shape[-2:]
    groups, k = weight.shape[1:3]
    p = k // 2
    dtype = torch.promote_types(grad.dtype, torch.float32)
    out = torch.empty_like(grad, memory_format=torch.contiguous_format)
    grouped = out.unflatten(1, (groups, -1))
    grad = grad.contiguous().unflatten(1, (groups, -1))
    for part in _parts(grad):
        values = grad[part].to(dtype)
        kernels = weight[part].contiguous()
        rows = values.new_empty(*values.shape[:3], h + 2 * p, w)
        padded = values.new_zeros(*values.shape[:3], h + 2 * p, w + 2 * p)
        for j in range(k):
            rows.zero_()
            for i in range(k):
                rows[..., i : i + h, :].addcmul_(values, _tap(kernels, i, j, dtype))
            padded[..., j : j + w] += rows
        grouped[part] = padded[..., p : p + h, p : p + w]
    return out


def inhomogeneous_depthwise_conv2d_weight_grad(grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """Compute the gradient for the weight, of `weight`'s shape and memory layout."""
    h, w = x.shape[-2:]
    groups, k = weight.shape[1:3]
    dtype = torch.promote_types(x.dtype, torch.float32)
    out = torch.empty_like(weight)
    ordered_otherwise = out.dtype != dtype or out.stride(-1) != 1
    x, grad = (t.contiguous().unflatten(1, (groups, -1)) for t in (x, grad))
    for part in _parts(x):
        padded = F.pad(x[part].to(dtype), [k // 2] * 4)
        values = grad[part].to(dtype)
        product = torch.empty_like(values)
        kernels = values.new_empty(out[part].shape) if ordered_otherwise else out[part]
        for j in range(k):
            shifted = padded[..., j : j + w].contiguous()
            for i in range(k):
                torch.mul(shifted[..., i : i + h, :], values, out=product)
                torch.sum(product, 2, out=kernels[:, :, i, j])
        if ordered_otherwise:
            out[part] = kernels
    return out


def _fastest(x: Tensor, k: int) -> torch.memory_format:
    """Choose the format to compute in: NCHW only for NCHW inputs and small kernels."""
    return torch.channels_last if k > _LARGE else memory_format(x)


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Filter each channel of x, (N, C, H, W), with its kernel of weight, (C, k, k)."""
    k = weight.shape[-1]
    return F.conv2d(x, weight.unsqueeze(1), bias, padding=k // 2, groups=len(weight))


def _correlate(x: Tensor, grad: Tensor, k: int) -> Tensor:
    """Sum the products of x, (1, C, H, W), shifted k x k ways, and grad, (C, H, W)."""
    return F.conv2d(x, grad.unsqueeze(1), padding=k // 2, groups=len(grad))


def _parts(x: Tensor) -> Iterator[tuple[slice, slice]]:
    """Cut x, (N, G, C / G, H, W), into images and groups of `_CHUNK` elements for each thread."""
    n, g, *rest = x.shape
    part = _CHUNK * torch.get_num_threads() // math.prod(rest)
    groups = min(g, max(1, part))
    images = max(1, part // groups)
    for i in range(0, n, images):
        for j in range(0, g, groups):
            yield slice(i, i + images), slice(j, j + groups)


def _tap(weight: Tensor, i: int, j: int, dtype: torch.dtype) -> Tensor:
    """Return one tap of weight, (N, G, k, k, H, W), for all channels of a group."""
    return weight[:, :, i, j].unsqueeze(2).to(dtype)
