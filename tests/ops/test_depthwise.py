"""The predicted depth-wise products against their definition, written as loops."""

import itertools

import pytest
import torch

from mmdwnet.ops import dynamic_depthwise_conv2d, inhomogeneous_depthwise_conv2d


def by_definition(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Sum over taps inside the image; `weight` is (N, C, k, k, H, W)."""
    h, w = x.shape[-2:]
    k = weight.shape[2]
    out = torch.zeros_like(x)
    for i, j, di, dj in itertools.product(range(h), range(w), range(k), range(k)):
        row, column = i + di - k // 2, j + dj - k // 2
        if 0 <= row < h and 0 <= column < w:
            out[:, :, i, j] += x[:, :, row, column] * weight[:, :, di, dj, i, j]
    return out


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(('k', 'size'), [(3, (5, 4)), (7, (8, 9)), (7, (2, 3)), (5, (1, 1))])
def test_products(k, size, memory_format):
    x = random(2, 6, *size).contiguous(memory_format=memory_format)
    weight, bias = random(2, 6, k, k, seed=1), random(6, seed=2)
    expected = by_definition(x, weight[..., None, None].expand(-1, -1, -1, -1, *size))
    out = dynamic_depthwise_conv2d(x, weight, bias)
    torch.testing.assert_close(out, expected + bias[:, None, None])
    assert out.is_contiguous(memory_format=memory_format)

    weight = random(2, 3, k, k, *size, seed=3)
    expected = by_definition(x, weight.repeat_interleave(2, dim=1))
    torch.testing.assert_close(inhomogeneous_depthwise_conv2d(x, weight), expected)


def test_gradients():
    x = random(2, 4, 4, 5).requires_grad_()
    homogeneous = random(2, 4, 3, 3, seed=1).requires_grad_()
    inhomogeneous = random(2, 2, 3, 3, 4, 5, seed=2).requires_grad_()
    bias = random(4, seed=3).requires_grad_()
    assert torch.autograd.gradcheck(dynamic_depthwise_conv2d, (x, homogeneous, bias))
    assert torch.autograd.gradcheck(inhomogeneous_depthwise_conv2d, (x, inhomogeneous))


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_low_precision_rounds_only_once(dtype):
    x, weight = random(1, 4, 6, 6).to(dtype), random(1, 2, 7, 7, 6, 6, seed=1).to(dtype)
    exact = inhomogeneous_depthwise_conv2d(x.double(), weight.double())
    torch.testing.assert_close(inhomogeneous_depthwise_conv2d(x, weight), exact.to(dtype))
