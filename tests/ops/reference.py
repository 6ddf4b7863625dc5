"""What the operators compute, as loops in float64, and inputs for them."""

import itertools

import torch

from mmdwnet.ops import (
    depthwise_conv2d,
    dynamic_depthwise_conv2d,
    inhomogeneous_depthwise_conv2d,
)

OPERATORS = {
    'static': depthwise_conv2d,
    'dynamic': dynamic_depthwise_conv2d,
    'inhomogeneous': inhomogeneous_depthwise_conv2d,
}
# One rounding of a result of size 1, and what sums in another order may differ by.
TOLERANCES = {
    torch.float64: dict(rtol=1e-10, atol=1e-10),
    torch.float32: dict(rtol=1e-5, atol=1e-4),
    torch.bfloat16: dict(rtol=2**-8, atol=1e-3),
    torch.float16: dict(rtol=2**-11, atol=1e-3),
}


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    """Draw float64 values that bfloat16 can hold, so that inputs are alike in all dtypes."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-16, 17, shape, generator=generator).double() / 16


def inputs(name: str, n: int, c: int, groups: int, h: int, w: int, k: int) -> list[torch.Tensor]:
    """Return x, weight, bias and the output's gradient."""
    shape = {
        'static': (c, k, k),
        'dynamic': (n, c, k, k),
        'inhomogeneous': (n, groups, k, k, h, w),
    }[name]
    return [
        random(n, c, h, w),
        random(*shape, seed=1),
        random(c, seed=2),
        random(n, c, h, w, seed=3),
    ]


def by_definition(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, grad: torch.Tensor
) -> list[torch.Tensor]:
    """Return the result and the gradients for x, weight and bias, added up term by term."""
    n, c, h, w = x.shape
    if weight.ndim < 6:
        weight_map = weight[..., None, None].expand(n, c, -1, -1, h, w)
    else:
        weight_map = weight.repeat_interleave(c // weight.shape[1], dim=1)
    k = weight_map.shape[2]
    out, grad_x = torch.zeros_like(x), torch.zeros_like(x)
    grad_map = x.new_zeros(weight_map.shape)
    for i, j, di, dj in itertools.product(range(h), range(w), range(k), range(k)):
        row, column = i + di - k // 2, j + dj - k // 2
        if 0 <= row < h and 0 <= column < w:
            out[:, :, i, j] += x[:, :, row, column] * weight_map[:, :, di, dj, i, j]
            grad_x[:, :, row, column] += grad[:, :, i, j] * weight_map[:, :, di, dj, i, j]
            grad_map[:, :, di, dj, i, j] = grad[:, :, i, j] * x[:, :, row, column]
    if weight.ndim == 6:
        grad_weight = grad_map.unflatten(1, (weight.shape[1], -1)).sum(2)
    else:
        grad_weight = grad_map.sum((-1, -2) if weight.ndim == 4 else (0, -1, -2))
    return [out + bias[:, None, None], grad_x, grad_weight, grad.sum((0, 2, 3))]


def run(
    name: str,
    tensors: list[torch.Tensor],
    dtype: torch.dtype,
    memory_format: torch.memory_format,
    backend: str | None,
) -> list[torch.Tensor]:
    """Return what `by_definition` does, computed by the operator."""
    *leaves, grad = (t.to(dtype) for t in tensors)
    leaves[0] = leaves[0].contiguous(memory_format=memory_format)
    for leaf in leaves:
        leaf.requires_grad_()
    out = OPERATORS[name](*leaves, backend=backend)
    grads = torch.autograd.grad(out, leaves, grad.contiguous(memory_format=memory_format))
    return [out, *grads]


def check(
    name: str,
    sizes: dict,
    dtype: torch.dtype,
    memory_format: torch.memory_format,
    backend: str | None,
    tolerance: dict | None = None,
) -> None:
    """Hold an operator, forward and backward, against its definition."""
    tensors = inputs(name, **sizes)
    results = run(name, tensors, dtype, memory_format, backend)
    for got, exact in zip(results, by_definition(*tensors), strict=True):
        assert got.dtype == dtype
        torch.testing.assert_close(got.double(), exact, **(tolerance or TOLERANCES[dtype]))
    if sizes['n']:  # all formats are one if there is nothing
        assert results[0].is_contiguous(memory_format=memory_format)


SIZES = {
    'usual': dict(n=2, c=6, groups=3, h=9, w=8, k=7),
    'one image': dict(n=1, c=4, groups=4, h=5, w=10, k=3),
    'map smaller than the kernel': dict(n=2, c=4, groups=1, h=2, w=3, k=9),
    'one position': dict(n=2, c=3, groups=3, h=1, w=1, k=5),
    'largest kernel': dict(n=2, c=2, groups=1, h=3, w=4, k=31),
    'no image': dict(n=0, c=4, groups=2, h=5, w=5, k=3),
}
