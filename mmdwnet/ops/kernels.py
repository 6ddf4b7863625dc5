"""Triton kernels of the depth-wise products. Launched by `cuda.py`.

Maps are channels-last, (N, H, W, C) in memory; kernels' weights come with strides. A program has a
tile of positions and a block of channels, as a register tile with channels innermost, so that each
load is a row of contiguous channels. The k * k shifted tiles that a program needs come from DRAM
once: all but the first visit to a position is served by the cache.

Sums are float32, or float64 for float64 tensors, in a fixed order, without atomics.
"""

# ruff: noqa: N803, N806  # sizes and constants of kernels are in capitals, as in Triton's own

import triton
import triton.language as tl


@triton.jit
def positions(H, W, TILE_H: tl.constexpr, TILE_W: tl.constexpr):
    """Return a program's image, and the rows and columns of its tile, which may end outside."""
    tiles_w = tl.cdiv(W, TILE_W)
    tiles = tl.cdiv(H, TILE_H) * tiles_w
    tile = tl.program_id(0) % tiles
    image = (tl.program_id(0) // tiles).to(tl.int64)
    p = tl.arange(0, TILE_H * TILE_W)
    return image, (tile // tiles_w) * TILE_H + p // TILE_W, (tile % tiles_w) * TILE_W + p % TILE_W


@triton.jit
def product(
    x,
    weight,
    scale,
    bias,
    out,
    C,
    H,
    W,
    group_size,
    stride_n,
    stride_g,
    stride_i,
    stride_j,
    stride_h,
    stride_w,
    K: tl.constexpr,
    PER_POSITION: tl.constexpr,
    TRANSPOSED: tl.constexpr,
    SCALE: tl.constexpr,
    BIAS: tl.constexpr,
    RELU: tl.constexpr,
    TILE_H: tl.constexpr,
    TILE_W: tl.constexpr,
    BLOCK_C: tl.constexpr,
    ACC: tl.constexpr,
):
    """Filter x: `out[h, w] = sum over i, j of x[h + i - K // 2, w + j - K // 2] * weight`.

    The weight is `weight[i, j]`, or `weight[i, j, h, w]` if PER_POSITION. If TRANSPOSED, the sum
    is the gradient for the input, of `x` as the output's gradient: from
    `h - i + K // 2, w - j + K // 2` come both x and the weight's position.
    """
    image, h, w = positions(H, W, TILE_H, TILE_W)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    in_c = c < C
    group = c // group_size
    x += image * H * W * C
    weight += image * stride_n
    in_map = (h < H) & (w < W)
    acc = tl.zeros((TILE_H * TILE_W, BLOCK_C), ACC)
    for i in range(K):
        for j in tl.range(0, K, loop_unroll_factor=7):
            if TRANSPOSED:
                y = h - i + K // 2
                z = w - j + K // 2
            else:
                y = h + i - K // 2
                z = w + j - K // 2
            inside = in_map & (y >= 0) & (y < H) & (z >= 0) & (z < W)
            mask = inside[:, None] & in_c[None, :]
            values = tl.load(x + (y * W + z)[:, None] * C + c[None, :], mask, 0.0)
            tap = weight + group * stride_g + i * stride_i + j * stride_j
            if PER_POSITION:
                if TRANSPOSED:
                    position = y.to(tl.int64) * stride_h + z * stride_w
                else:
                    position = h.to(tl.int64) * stride_h + w * stride_w
                factors = tl.load(tap[None, :] + position[:, None], mask, 0.0).to(ACC)
            else:
                factors = tl.load(tap, in_c, 0.0).to(ACC)[None, :]
            acc += values.to(ACC) * factors
    if SCALE:
        acc *= tl.load(scale + c, in_c, 0.0).to(ACC)[None, :]
    if BIAS:
        acc += tl.load(bias + c, in_c, 0.0).to(ACC)[None, :]
    if RELU:
        acc = tl.maximum(acc, 0.0)
    out += image * H * W * C
    mask = in_map[:, None] & in_c[None, :]
    tl.store(out + (h * W + w)[:, None] * C + c[None, :], acc.to(out.dtype.element_ty), mask)


@triton.jit
def weight_grad(
    grad,
    x,
    out,
    C,
    H,
    W,
    K: tl.constexpr,
    TAPS: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
    ACC: tl.constexpr,
):
    """Sum `grad[h, w] * x[h + i - K // 2, w + j - K // 2]` over ROWS rows of an image.

    A program has one i and all j, padded to TAPS, a power of two. The sums go to `out`,
    (N, chunks of rows, K, K, C), of dtype ACC; the caller adds up the chunks.
    """
    chunks = tl.cdiv(H, ROWS)
    chunk = tl.program_id(0) % chunks
    image = (tl.program_id(0) // chunks).to(tl.int64)
    i = tl.program_id(1)
    c = tl.program_id(2) * BLOCK_C + tl.arange(0, BLOCK_C)
    in_c = c < C
    j = tl.arange(0, TAPS)
    grad += image * H * W * C
    x += image * H * W * C
    first = chunk * ROWS * W
    last = tl.minimum((chunk + 1) * ROWS, H) * W
    acc = tl.zeros((TAPS, BLOCK_P, BLOCK_C), ACC)
    for start in range(first, last, BLOCK_P):
        p = start + tl.arange(0, BLOCK_P)
        mask = (p < last)[:, None] & in_c[None, :]
        values = tl.load(grad + p[:, None] * C + c[None, :], mask, 0.0).to(ACC)
        y = p // W + i - K // 2
        z = p[None, :] % W + j[:, None] - K // 2
        inside = ((p < last) & (y >= 0) & (y < H))[None, :] & (z >= 0) & (z < W)
        inside = inside & (j < K)[:, None]
        shifted = tl.load(
            x + (y[None, :] * W + z)[:, :, None] * C + c[None, None, :],
            inside[:, :, None] & in_c[None, None, :],
            0.0,
        )
        acc += shifted.to(ACC) * values[None, :, :]
    out += ((image * chunks + chunk) * K + i) * K * C
    sums = tl.sum(acc, 1)
    tl.store(out + j[:, None] * C + c[None, :], sums, (j < K)[:, None] & in_c[None, :])


@triton.jit
def weight_grad_per_position(
    grad,
    x,
    out,
    G,
    H,
    W,
    group_size,
    stride_n,
    stride_g,
    stride_i,
    stride_j,
    stride_h,
    stride_w,
    K: tl.constexpr,
    TILE_H: tl.constexpr,
    TILE_W: tl.constexpr,
    BLOCK_G: tl.constexpr,
    BLOCK_M: tl.constexpr,
    ACC: tl.constexpr,
):
    """Sum `grad[h, w] * x[h + i - K // 2, w + j - K // 2]` over the channels of each group.

    BLOCK_M, a power of two, is at least `group_size`.
    """
    C = G * group_size
    image, h, w = positions(H, W, TILE_H, TILE_W)
    g = tl.program_id(1) * BLOCK_G + tl.arange(0, BLOCK_G)
    m = tl.arange(0, BLOCK_M)
    c = g[:, None] * group_size + m[None, :]
    in_c = (g < G)[:, None] & (m < group_size)[None, :]
    grad += image * H * W * C
    x += image * H * W * C
    in_map = (h < H) & (w < W)
    values = tl.load(
        grad + (h * W + w)[:, None, None] * C + c[None, :, :],
        in_map[:, None, None] & in_c[None, :, :],
        0.0,
    ).to(ACC)
    out += image * stride_n + g[None, :] * stride_g
    position = h.to(tl.int64) * stride_h + w * stride_w
    stored = in_map[:, None] & (g < G)[None, :]
    for i in range(K):
        for j in tl.range(0, K, loop_unroll_factor=7):
            y = h + i - K // 2
            z = w + j - K // 2
            inside = (y >= 0) & (y < H) & (z >= 0) & (z < W)
            shifted = tl.load(
                x + (y * W + z)[:, None, None] * C + c[None, :, :],
                inside[:, None, None] & in_c[None, :, :],
                0.0,
            )
            sums = tl.sum(shifted.to(ACC) * values, 2)
            target = out + i * stride_i + j * stride_j + position[:, None]
            tl.store(target, sums.to(out.dtype.element_ty), stored)
