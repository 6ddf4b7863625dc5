"""Backend 'triton': launches the kernels of `kernels.py`, on CUDA or under Triton's interpreter."""

import math
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import kernels

# Left to itself, ptxas spills a few registers to fit one more program into a multiprocessor.
_REGISTERS = {} if torch.version.hip else {'maxnreg': 255}
# Of a register tile of the kernels per position: 16 bytes of each thread.
_TILE_BYTES = 4096
_LARGE_KERNELS_TILE = 512  # elements, as their loops take many registers
_ROW, _PART_OF_ROW = 7, 3  # taps that are loaded at once: a row, if it is not longer, or a part
_OPTIONS = {'num_warps': 8} | _REGISTERS
# Of the other kernels: more elements per thread would not fit into its registers.
_STRIP = 8
_STRIP_OF_SUMS = 7  # in the weight gradient
_STRIP_WARPS = 4
_STRIP_OPTIONS = {'num_warps': _STRIP_WARPS} | _REGISTERS
_MANY_COLUMNS = 13
_SUMS = 49  # of each lane, in the weight gradient
_MANY_SUMS = 15
# Programs that keep a large GPU busy, and how often each should add before it writes its sums.
_PROGRAMS = 1024
_STEPS = 4


class Launch(NamedTuple):
    """A kernel with what it is launched with."""

    kernel: triton.JITFunction
    grid: tuple[int, int]
    arguments: dict[str, Any]
    constants: dict[str, Any]
    options: dict[str, int]

    def __call__(self) -> None:
        """Run the kernel, if there is any work."""
        x = self.arguments['x']
        if x.shape[0] == 0:
            return
        # The device of x need not be the current one.
        with torch.cuda.device(x.device) if x.is_cuda else nullcontext():
            self.kernel[self.grid](**self.arguments, **self.constants, **self.options)


def depthwise_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, relu: bool) -> Tensor:
    """Compute the homogeneous product; `weight` is (N, C, k, k), or (1, C, k, k) for all images."""
    x, weight = (t.contiguous(memory_format=torch.channels_last) for t in (x, weight))
    out = torch.empty_like(x)
    product(x, weight, bias, relu, out)()
    return out


def product(x: Tensor, weight: Tensor, bias: Tensor | None, relu: bool, out: Tensor) -> Launch:
    """Prepare the homogeneous product of tensors that are channels-last."""
    n, c, h, w = x.shape
    k = weight.shape[-1]
    narrow = x.dtype == torch.float64 or k > _MANY_COLUMNS
    strip, lanes, block_c = _tile(c, w, _STRIP, 2 if narrow else 4, n * h)
    arguments = dict(x=x, weight=weight, bias=bias, out=out, N=n, H=h, W=w)
    constants = dict(C=c, K=k, SHARED=weight.shape[0] == 1, BIAS=bias is not None, RELU=relu)
    constants |= dict(ACC=_accumulator(x), STRIP=strip, LANES=lanes, BLOCK_C=block_c)
    grid = triton.cdiv(n * h * triton.cdiv(w, strip), lanes), triton.cdiv(c, block_c)
    return Launch(kernels.product, grid, arguments, constants, _STRIP_OPTIONS)


def depthwise_conv2d_weight_grad(grad: Tensor, x: Tensor, k: int, shared: bool) -> Tensor:
    """Compute the gradient for the weight: (N, C, k, k), or (1, C, k, k), summed if `shared`."""
    x, grad = (t.contiguous(memory_format=torch.channels_last) for t in (x, grad))
    launch = weight_grad(grad, x, k, shared)
    launch()
    total = launch.arguments['out'].sum(1)
    return total.permute(0, 3, 1, 2).to(x.dtype)


def weight_grad(grad: Tensor, x: Tensor, k: int, shared: bool) -> Launch:
    """Prepare sums for the weight's gradient, (N or 1, chunks, k, k, C), from channels-last."""
    n, c, h, w = x.shape
    wide = 2 if x.dtype == torch.float64 else 1  # registers of an element
    rows = max(r for r in range(1, k + 1) if k % r == 0 and (r == 1 or r * k * wide <= _SUMS))
    elements = (4 if rows * k <= _MANY_SUMS else 2) // wide
    parts, images = (1, n) if shared else (n, 1)
    strip, lanes, block_c = _tile(c, w, _STRIP_OF_SUMS, elements, images * h)
    length = images * h * triton.cdiv(w, strip)
    blocks = triton.cdiv(c, block_c)
    all_steps = max(1, triton.cdiv(length, lanes))
    least = max(_STEPS, k // rows * parts * blocks * all_steps // _PROGRAMS)
    # Those of the last chunk that have nothing to do are few.
    steps = min(range(least, 2 * least), key=lambda s: triton.cdiv(all_steps, s) * s)
    steps = min(steps, all_steps)
    chunks = triton.cdiv(length, steps * lanes)
    out = x.new_empty(parts, chunks, k, k, c, dtype=torch.promote_types(x.dtype, torch.float32))
    arguments = dict(grad=grad, x=x, out=out, length=length, steps=steps, H=h, W=w)
    constants = dict(C=c, K=k, ROWS=rows, ACC=_accumulator(x))
    constants |= dict(STRIP=strip, LANES=lanes, BLOCK_C=block_c)
    grid = k // rows * parts * chunks, blocks
    return Launch(kernels.weight_grad, grid, arguments, constants, _STRIP_OPTIONS)


def inhomogeneous_depthwise_conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None, scale: Tensor | None, relu: bool
) -> Tensor:
    """Compute the inhomogeneous product of x, (N, C, H, W), and weight, (N, G, k, k, H, W)."""
    x = x.contiguous(memory_format=torch.channels_last)
    out = torch.empty_like(x)
    product_per_position(x, weight, out, bias, scale, relu)()
    return out


def inhomogeneous_depthwise_conv2d_input_grad(grad: Tensor, weight: Tensor) -> Tensor:
    """Compute the gradient for x, (N, C, H, W)."""
    grad = grad.contiguous(memory_format=torch.channels_last)
    out = torch.empty_like(grad)
    product_per_position(grad, weight, out, transposed=True)()
    return out


def product_per_position(
    x: Tensor,
    weight: Tensor,
    out: Tensor,
    bias: Tensor | None = None,
    scale: Tensor | None = None,
    relu: bool = False,
    transposed: bool = False,
) -> Launch:
    """Prepare the inhomogeneous product of x, channels-last, or the gradient for the input."""
    arguments: dict[str, Any] = dict(x=x, weight=weight, scale=scale, bias=bias, out=out)
    flags = dict(SCALE=scale is not None, BIAS=bias is not None, RELU=relu, TRANSPOSED=transposed)
    return _per_position(kernels.product_per_position, weight, arguments, flags)


def inhomogeneous_depthwise_conv2d_weight_grad(grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """Compute the gradient for the weight, of `weight`'s shape and memory layout."""
    x, grad = (t.contiguous(memory_format=torch.channels_last) for t in (x, grad))
    out = torch.empty_like(weight)
    weight_grad_per_position(grad, x, out)()
    return out


def weight_grad_per_position(grad: Tensor, x: Tensor, out: Tensor) -> Launch:
    """Prepare the gradient for the weight, `out`, from tensors that are channels-last."""
    return _per_position(kernels.weight_grad_per_position, out, dict(grad=grad, x=x, out=out), {})


def _per_position(
    kernel: triton.JITFunction, weight: Tensor, arguments: dict[str, Any], flags: dict[str, Any]
) -> Launch:
    x = arguments['x']
    n, c, h, w = x.shape
    groups, k = weight.shape[1:3]
    # A group's channels in parts that leave few lanes without work.
    blocks = {parts: triton.next_power_of_2(triton.cdiv(c // groups, parts)) for parts in (1, 3)}
    parts, block_m = min(blocks.items(), key=math.prod)
    positions = 32 if block_m <= 64 else 4
    tile = _TILE_BYTES // x.itemsize
    if k > _MANY_COLUMNS:
        tile = min(tile, _LARGE_KERNELS_TILE)
    block_g = min(triton.next_power_of_2(groups), max(1, tile // positions // block_m))
    strides = {f'stride_{dim}': s for dim, s in zip('ngijhw', weight.stride(), strict=True)}
    constants = dict(C=c, G=groups, K=k, ACC=_accumulator(x), POSITIONS=positions)
    unroll = k if k <= _ROW else _PART_OF_ROW
    constants |= dict(BLOCK_G=block_g, BLOCK_M=block_m, PARTS=parts, UNROLL=unroll) | flags
    grid = triton.cdiv(n * h * w, positions), triton.cdiv(groups, block_g)
    return Launch(kernel, grid, arguments | dict(N=n, H=h, W=w, **strides), constants, _OPTIONS)


def _tile(
    channels: int, width: int, longest: int, elements: int, height: int
) -> tuple[int, int, int]:
    """Return STRIP, LANES and BLOCK_C, for register tiles of `elements` per thread.

    Few lanes are left over at the right edge, above the last channel, and after the last strip of
    `height` rows.
    """
    strip = triton.cdiv(width, triton.cdiv(width, longest))
    tile = elements * 32 * _STRIP_WARPS
    strips = height * triton.cdiv(width, strip)

    def computed(block: int) -> float:
        lanes = tile // block
        padded = triton.cdiv(channels, block) * block * triton.cdiv(strips, lanes) * lanes
        return round(padded / max(1, channels * strips), 1)

    block_c = min((32, 16, 8, 64, 128), key=computed)  # of 256, one lane would spill
    return strip, tile // block_c, block_c


def _accumulator(x: Tensor) -> tl.dtype:
    return tl.float64 if x.dtype == torch.float64 else tl.float32
