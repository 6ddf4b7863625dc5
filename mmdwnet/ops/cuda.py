"""Backend 'triton': launches the kernels of `kernels.py`, on CUDA or under Triton's interpreter."""

from contextlib import AbstractContextManager, nullcontext

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import kernels

# Elements of a register tile: enough work for a program, few enough registers for many of them.
_TILE = 2048
_WARPS = 8
# Positions whose products a program of the weight gradient sums.
_CHUNK = 1024


def depthwise_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, relu: bool) -> Tensor:
    """Compute the homogeneous product; `weight` is (N, C, k, k), or (1, C, k, k) for all images."""
    # Channels innermost, as the kernel reads them.
    weight = weight.contiguous(memory_format=torch.channels_last)
    strides = (*weight.stride(), 0, 0)
    return _product(x, weight, strides, weight.shape[-1], group_size=1, bias=bias, relu=relu)


def depthwise_conv2d_weight_grad(grad: Tensor, x: Tensor, k: int, shared: bool) -> Tensor:
    """Compute the gradient for the weight: (N, C, k, k), or (1, C, k, k), summed if `shared`."""
    n, c, h, w = x.shape
    x, grad = (t.contiguous(memory_format=torch.channels_last) for t in (x, grad))
    rows = min(h, max(1, _CHUNK // w))
    chunks = triton.cdiv(h, rows)
    taps = triton.next_power_of_2(k)
    block_c = _block_c(c, 32)
    dtype = torch.promote_types(x.dtype, torch.float32)
    sums = x.new_empty(n, chunks, k, k, c, dtype=dtype)
    if n:
        with _device(x):
            kernels.weight_grad[(n * chunks, k, triton.cdiv(c, block_c))](
                grad,
                x,
                sums,
                c,
                h,
                w,
                K=k,
                TAPS=taps,
                ROWS=rows,
                BLOCK_P=max(1, 2 * _TILE // (taps * block_c)),
                BLOCK_C=block_c,
                ACC=_accumulator(x),
                num_warps=_WARPS,
            )
    total = sums.sum((0, 1)).unsqueeze(0) if shared else sums.sum(1)
    return total.permute(0, 3, 1, 2).to(x.dtype)


def inhomogeneous_depthwise_conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None, scale: Tensor | None, relu: bool
) -> Tensor:
    """Compute the inhomogeneous product of x, (N, C, H, W), and weight, (N, G, k, k, H, W)."""
    groups, k = weight.shape[1:3]
    size = x.shape[1] // groups
    return _product(
        x, weight, weight.stride(), k, group_size=size, bias=bias, scale=scale, relu=relu
    )


def inhomogeneous_depthwise_conv2d_input_grad(grad: Tensor, weight: Tensor) -> Tensor:
    """Compute the gradient for x, (N, C, H, W)."""
    groups, k = weight.shape[1:3]
    size = grad.shape[1] // groups
    return _product(grad, weight, weight.stride(), k, group_size=size, transposed=True)


def inhomogeneous_depthwise_conv2d_weight_grad(grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """Compute the gradient for the weight, of `weight`'s shape and memory layout."""
    n, c, h, w = x.shape
    groups, k = weight.shape[1:3]
    x, grad = (t.contiguous(memory_format=torch.channels_last) for t in (x, grad))
    out = torch.empty_like(weight)
    block_m = triton.next_power_of_2(c // groups)
    tile_h, tile_w = (4, 8) if block_m <= 64 else (1, 4)
    block_g = min(triton.next_power_of_2(groups), max(1, _TILE // (tile_h * tile_w * block_m)))
    tiles = triton.cdiv(h, tile_h) * triton.cdiv(w, tile_w)
    if n:
        with _device(x):
            kernels.weight_grad_per_position[(n * tiles, triton.cdiv(groups, block_g))](
                grad,
                x,
                out,
                groups,
                h,
                w,
                c // groups,
                *out.stride(),
                K=k,
                TILE_H=tile_h,
                TILE_W=tile_w,
                BLOCK_G=block_g,
                BLOCK_M=block_m,
                ACC=_accumulator(x),
                num_warps=_WARPS,
            )
    return out


def _product(
    x: Tensor,
    weight: Tensor,
    strides: tuple[int, ...],
    k: int,
    group_size: int,
    bias: Tensor | None = None,
    scale: Tensor | None = None,
    relu: bool = False,
    transposed: bool = False,
) -> Tensor:
    """Launch `kernels.product`.

    Args:
        x: (N, C, H, W).
        weight: Memory of the kernels.
        strides: The weight's for image, group, row and column of the kernel, and row and column
            of the position; the last two are 0 where all positions have one kernel.
        k: Side of the kernels.
        group_size: Channels that share kernels.
        bias: (C,), added.
        scale: (C,), multiplied before.
        relu: Whether to clip at 0.
        transposed: Whether to compute the gradient for the input.

    Returns:
        (N, C, H, W), channels-last.
    """
    n, c, h, w = x.shape
    x = x.contiguous(memory_format=torch.channels_last)
    out = torch.empty_like(x, memory_format=torch.channels_last)
    if weight.shape[0] == 1:
        strides = (0, *strides[1:])
    tile_h, tile_w = (8, 8) if min(h, w) > 4 else (4, 4)
    block_c = _block_c(c, _TILE // (tile_h * tile_w))
    tiles = triton.cdiv(h, tile_h) * triton.cdiv(w, tile_w)
    if n:
        with _device(x):
            kernels.product[(n * tiles, triton.cdiv(c, block_c))](
                x,
                weight,
                scale,
                bias,
                out,
                c,
                h,
                w,
                group_size,
                *strides,
                K=k,
                PER_POSITION=strides[-1] != 0,
                TRANSPOSED=transposed,
                SCALE=scale is not None,
                BIAS=bias is not None,
                RELU=relu,
                TILE_H=tile_h,
                TILE_W=tile_w,
                BLOCK_C=block_c,
                ACC=_accumulator(x),
                num_warps=_WARPS,
            )
    return out


def _block_c(channels: int, most: int) -> int:
    """Return the channels that a program computes, a power of two."""
    return min(triton.next_power_of_2(channels), most)


def _accumulator(x: Tensor) -> tl.dtype:
    return tl.float64 if x.dtype == torch.float64 else tl.float32


def _device(x: Tensor) -> AbstractContextManager:
    """Launch on the device of `x`, which need not be the current one."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()
