"""Triton kernels of the depth-wise products. Launched by `cuda.py`.

Maps are channels-last, (N, H, W, C) in memory, so that each load is a row of contiguous channels.

Where all positions have the same kernel, instructions are the limit. A program has strips of STRIP
neighboring outputs, and a register tile of LANES strips by BLOCK_C channels for each of these
outputs. It loads and converts each column of x, and each tap, once for all outputs of a strip.
Strips are counted downward, then to the right, then by image, so that the rows that neighboring
lanes share come from the cache, and only the last program has lanes without work. The number of
channels is a constant, so that the addresses of columns take no instructions.

Where kernels differ by position, the bytes of the weight are the limit. A program has some
positions and groups of channels, and loads each weight once.

Sums are float32, or float64 for float64 tensors, in a fixed order, without atomics.
"""

# ruff: noqa: N803  # sizes and constants of kernels are in capitals, as in Triton's own

import triton
import triton.language as tl


@triton.jit
def plus(sums, i: tl.constexpr, term):
    """Add `term` to `sums[i]`."""
    return sums[:i] + (sums[i] + term,) + sums[i + 1 :]  # noqa: RUF005  # as Triton can


@triton.jit(do_not_specialize=['N', 'H', 'W'])  # one compilation for maps of all sizes
def product(
    x,
    weight,
    bias,
    out,
    N,
    H,
    W,
    C: tl.constexpr,
    K: tl.constexpr,
    SHARED: tl.constexpr,
    BIAS: tl.constexpr,
    RELU: tl.constexpr,
    STRIP: tl.constexpr,
    LANES: tl.constexpr,
    BLOCK_C: tl.constexpr,
    ACC: tl.constexpr,
):
    """Filter x: `out[h, w] = sum over i, j of x[h + i - K // 2, w + j - K // 2] * weight[i, j]`.

    The weight is (N, K, K, C) in memory, or (1, K, K, C) if SHARED.
    """
    strips = tl.cdiv(W, STRIP)
    lane = tl.program_id(0) * LANES + tl.arange(0, LANES)
    image = (lane // H // strips).to(tl.int64)
    h = lane % H
    w = lane // H % strips * STRIP
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    valid = (image < N)[:, None] & (c < C)[None, :]
    first = (image * H + h) * W + w
    x += ((first - K // 2 * (W + 1)) * C)[:, None] + c[None, :]
    if SHARED:
        image = tl.zeros_like(image)
    weight += (image * (K * K * C))[:, None] + c[None, :]
    acc = (tl.zeros((LANES, BLOCK_C), ACC),) * STRIP
    for i in range(K):
        row = h + i - K // 2
        width = tl.where(valid & ((row >= 0) & (row < H))[:, None], W, 0)  # of what is in the map
        taps = ()
        for j in tl.static_range(K + STRIP - 1):
            if j < K:
                # At the column that it is first needed for, as all of them take many registers.
                taps += (tl.load(weight + j * C, valid).to(ACC),)  # type: ignore[assignment]
            column = (w + j - K // 2)[:, None]
            mask = (column >= 0) & (column < width)
            values = tl.load(x + j * C, mask, 0.0).to(ACC)
            for s in tl.static_range(STRIP):
                if j >= s and j - s < K:
                    acc = plus(acc, s, values * taps[j - s])
        x += W * C
        weight += K * C
    out += (first * C)[:, None] + c[None, :]
    for s in tl.static_range(STRIP):
        result = acc[s]
        if BIAS:
            result += tl.load(bias + c, c < C, 0.0).to(ACC)[None, :]
        if RELU:
            result = tl.maximum(result, 0.0)
        tl.store(out + s * C, result.to(out.dtype.element_ty), valid & (w + s < W)[:, None])


@triton.jit(do_not_specialize=['length', 'steps', 'H', 'W'])
def weight_grad(
    grad,
    x,
    out,
    length,
    steps,
    H,
    W,
    C: tl.constexpr,
    K: tl.constexpr,
    ROWS: tl.constexpr,
    STRIP: tl.constexpr,
    LANES: tl.constexpr,
    BLOCK_C: tl.constexpr,
    ACC: tl.constexpr,
):
    """Sum `grad[h, w] * x[h + i - K // 2, w + j - K // 2]` over strips.

    A part, an image or the whole batch, has `length` strips; a program adds up `steps * LANES` of
    them, for ROWS rows of the kernel. The sums go to `out`, (parts, chunks of a part, K, K, C), of
    dtype ACC; the caller adds up the chunks.
    """
    chunk = tl.program_id(0) // (K // ROWS)
    i0 = tl.program_id(0) % (K // ROWS) * ROWS
    strips = tl.cdiv(W, STRIP)
    chunks = tl.cdiv(length, steps * LANES)
    part = chunk // chunks
    lane = chunk % chunks * steps * LANES + tl.arange(0, LANES)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    acc = (tl.zeros((LANES, BLOCK_C), ACC),) * (ROWS * K)
    for _ in range(steps):
        strip = part * length + lane
        h = strip % H
        w = strip // H % strips * STRIP
        valid = (lane < length)[:, None] & (c < C)[None, :]
        first = ((strip // H // strips).to(tl.int64) * H + h) * W + w
        values = ()
        for s in tl.static_range(STRIP):
            mask = valid & (w + s < W)[:, None]
            value = tl.load(grad + ((first + s) * C)[:, None] + c[None, :], mask, 0.0)
            values += (value.to(ACC),)  # type: ignore[assignment]
        for i in tl.static_range(ROWS):
            row = h + i0 + i - K // 2
            width = tl.where(valid & ((row >= 0) & (row < H))[:, None], W, 0)
            start = first + (i0 + i - K // 2) * W - K // 2
            for j in tl.static_range(K + STRIP - 1):
                column = (w + j - K // 2)[:, None]
                mask = (column >= 0) & (column < width)
                shifted = tl.load(x + ((start + j) * C)[:, None] + c[None, :], mask, 0.0).to(ACC)
                for s in tl.static_range(STRIP):
                    if j >= s and j - s < K:
                        acc = plus(acc, i * K + j - s, shifted * values[s])
        lane += LANES
    out += (chunk.to(tl.int64) * K + i0) * (K * C) + c
    for t in tl.static_range(ROWS * K):
        tl.store(out + t * C, tl.sum(acc[t], 0), c < C)


@triton.jit(do_not_specialize=['N', 'H', 'W'])
def product_per_position(
    x,
    weight,
    scale,
    bias,
    out,
    N,
    H,
    W,
    stride_n,
    stride_g,
    stride_i,
    stride_j,
    stride_h,
    stride_w,
    C: tl.constexpr,
    G: tl.constexpr,
    K: tl.constexpr,
    TRANSPOSED: tl.constexpr,
    SCALE: tl.constexpr,
    BIAS: tl.constexpr,
    RELU: tl.constexpr,
    POSITIONS: tl.constexpr,
    BLOCK_G: tl.constexpr,
    BLOCK_M: tl.constexpr,
    PARTS: tl.constexpr,
    UNROLL: tl.constexpr,
    ACC: tl.constexpr,
):
    """Filter x: `out[h, w] = sum over i, j of x[h + i - K // 2, w + j - K // 2] * weight`.

    The weight is `weight[i, j, h, w]`. If TRANSPOSED, the sum is the gradient for the input, of
    `x` as the output's gradient: from `h - i + K // 2, w - j + K // 2` come both x and the
    weight's position. It is loaded once for all channels of its group, which are PARTS times
    BLOCK_M, or fewer.
    """
    p = tl.program_id(0).to(tl.int64) * POSITIONS + tl.arange(0, POSITIONS)
    image = p // W // H
    h = (p // W % H).to(tl.int32)
    w = (p % W).to(tl.int32)
    g = tl.program_id(1) * BLOCK_G + tl.arange(0, BLOCK_G)
    m = tl.arange(0, BLOCK_M)
    c = g[:, None] * (C // G) + m[None, :]
    x += (p * C)[:, None, None] + c[None, :, :]
    position = image * stride_n + h.to(tl.int64) * stride_h + w * stride_w
    weight += position[:, None] + (g * stride_g)[None, :]
    in_map = image < N
    acc = (tl.zeros((POSITIONS, BLOCK_G, BLOCK_M), ACC),) * PARTS
    for i in range(K):
        for j in tl.range(0, K, loop_unroll_factor=UNROLL):
            down = i - K // 2
            right = j - K // 2
            tap = weight + (i * stride_i + j * stride_j)
            if TRANSPOSED:
                down = -down
                right = -right
                tap += down.to(tl.int64) * stride_h + right * stride_w
            inside = (h + down >= 0) & (h + down < H) & (w + right >= 0) & (w + right < W)
            mask = (in_map & inside)[:, None] & (g < G)[None, :]
            factors = tl.load(tap, mask, 0.0).to(ACC)
            there = x + (down * W + right) * C
            for r in tl.static_range(PARTS):
                in_c = (m < C // G - r * BLOCK_M)[None, None, :]
                values = tl.load(there + r * BLOCK_M, mask[:, :, None] & in_c, 0.0)
                acc = plus(acc, r, values.to(ACC) * factors[:, :, None])
    out += (p * C)[:, None, None] + c[None, :, :]
    for r in tl.static_range(PARTS):
        in_c = (g < G)[:, None] & (m < C // G - r * BLOCK_M)[None, :]
        result = acc[r]
        if SCALE:
            result *= tl.load(scale + r * BLOCK_M + c, in_c, 0.0).to(ACC)[None, :, :]
        if BIAS:
            result += tl.load(bias + r * BLOCK_M + c, in_c, 0.0).to(ACC)[None, :, :]
        if RELU:
            result = tl.maximum(result, 0.0)
        mask = in_map[:, None, None] & in_c[None, :, :]
        tl.store(out + r * BLOCK_M, result.to(out.dtype.element_ty), mask)


@triton.jit(do_not_specialize=['N', 'H', 'W'])
def weight_grad_per_position(
    grad,
    x,
    out,
    N,
    H,
    W,
    stride_n,
    stride_g,
    stride_i,
    stride_j,
    stride_h,
    stride_w,
    C: tl.constexpr,
    G: tl.constexpr,
    K: tl.constexpr,
    POSITIONS: tl.constexpr,
    BLOCK_G: tl.constexpr,
    BLOCK_M: tl.constexpr,
    PARTS: tl.constexpr,
    UNROLL: tl.constexpr,
    ACC: tl.constexpr,
):
    """Sum `grad[h, w] * x[h + i - K // 2, w + j - K // 2]` over the channels of each group.

    These are PARTS times BLOCK_M channels, or fewer.
    """
    p = tl.program_id(0).to(tl.int64) * POSITIONS + tl.arange(0, POSITIONS)
    image = p // W // H
    h = (p // W % H).to(tl.int32)
    w = (p % W).to(tl.int32)
    g = tl.program_id(1) * BLOCK_G + tl.arange(0, BLOCK_G)
    m = tl.arange(0, BLOCK_M)
    c = g[:, None] * (C // G) + m[None, :]
    grad += (p * C)[:, None, None] + c[None, :, :]
    x += (p * C)[:, None, None] + c[None, :, :]
    in_map = image < N
    stored = in_map[:, None] & (g < G)[None, :]
    values = ()
    for r in tl.static_range(PARTS):
        mask = stored[:, :, None] & (m < C // G - r * BLOCK_M)[None, None, :]
        value = tl.load(grad + r * BLOCK_M, mask, 0.0)
        values += (value.to(ACC),)  # type: ignore[assignment]
    position = image * stride_n + h.to(tl.int64) * stride_h + w * stride_w
    out += position[:, None] + (g * stride_g)[None, :]
    for i in range(K):
        for j in tl.range(0, K, loop_unroll_factor=UNROLL):
            down = i - K // 2
            right = j - K // 2
            inside = (h + down >= 0) & (h + down < H) & (w + right >= 0) & (w + right < W)
            there = x + (down * W + right) * C
            products = tl.zeros((POSITIONS, BLOCK_G, BLOCK_M), ACC)
            for r in tl.static_range(PARTS):
                in_c = (g < G)[:, None] & (m < C // G - r * BLOCK_M)[None, :]
                mask = (in_map & inside)[:, None, None] & in_c[None, :, :]
                products += tl.load(there + r * BLOCK_M, mask, 0.0).to(ACC) * values[r]
            sums = tl.sum(products, 2)
            tl.store(out + i * stride_i + j * stride_j, sums.to(out.dtype.element_ty), stored)
