"""CARAFE through mmcv's own functions and layer, against plain float64 loops."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from .stand_in import check_under_autocast, mmcv, needs_stand_in, random

pytestmark = needs_stand_in


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_under_autocast(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    check_under_autocast(mmcv.ops.CARAFEPack(4, 2), dtype)


def reference_carafe(x: Tensor, masks: Tensor, size: int, groups: int, scale: int) -> Tensor:
    n, channels, height, width = x.shape
    output = x.new_zeros(n, channels, height * scale, width * scale)
    masks = masks.unflatten(1, (groups, size, size))
    for i, j in itertools.product(range(height * scale), range(width * scale)):
        for a, b in itertools.product(range(size), repeat=2):
            y, x_ = i // scale + a - size // 2, j // scale + b - size // 2
            if 0 <= y < height and 0 <= x_ < width:
                kernels = masks[:, :, a, b, i, j].repeat_interleave(channels // groups, dim=1)
                output[:, :, i, j] += x[:, :, y, x_] * kernels
    return output


def carafe_inputs(size: int, groups: int, scale: int, n: int = 2) -> tuple[Tensor, Tensor]:
    features = random(n, 4, 3, 5, seed=8).requires_grad_()
    masks = random(n, groups * size**2, 3 * scale, 5 * scale, seed=9).requires_grad_()
    return features, masks


@pytest.mark.parametrize('function', [mmcv.ops.carafe, mmcv.ops.carafe_naive])
@pytest.mark.parametrize(
    'options', [(5, 1, 2), (3, 2, 3), (3, 4, 1), (1, 2, 2)], ids='kernel{0[0]}'.format
)
def test_carafe(function, options: tuple[int, int, int]) -> None:
    features, masks = carafe_inputs(*options)
    expected = reference_carafe(features, masks, *options)
    torch.testing.assert_close(function(features, masks, *options), expected)


@pytest.mark.parametrize('options', [(5, 1, 2), (3, 2, 3), (1, 2, 2)], ids='kernel{0[0]}'.format)
def test_carafe_gradients(options: tuple[int, int, int]) -> None:
    inputs = carafe_inputs(*options)
    torch.autograd.gradcheck(
        lambda *tensors: mmcv.ops.carafe(*tensors, *options), inputs, fast_mode=True
    )
    output = mmcv.ops.carafe(*inputs, *options)
    weight = random(*output.shape, seed=10)
    expected = torch.autograd.grad(output, inputs, weight)
    # mmcv lets the naive function's gradient be computed on GPUs only.
    naive = tuple(map(torch.zeros_like, inputs))
    names = ('kernel_size', 'group_size', 'scale_factor')
    with torch.no_grad():
        mmcv._ext.carafe_naive_backward(
            weight, *inputs, *naive, **dict(zip(names, options, strict=True))
        )
    for a, b in zip(naive, expected, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_carafe_of_half_precision_is_computed_in_single(dtype: torch.dtype) -> None:
    half = [tensor.detach().to(dtype) for tensor in carafe_inputs(5, 2, 2)]
    for masks in (half[1], half[1].float()):
        with torch.autocast('cpu', torch.bfloat16):  # the operator knows nothing of it
            output = mmcv.ops.carafe(half[0], masks, 5, 2, 2)
        expected = mmcv.ops.carafe(*(tensor.float() for tensor in half), 5, 2, 2)
        assert output.dtype == dtype
        epsilon = torch.finfo(dtype).eps
        torch.testing.assert_close(output.float(), expected, rtol=epsilon, atol=epsilon**2)


def test_carafe_of_channels_last() -> None:
    features, masks = carafe_inputs(5, 1, 2)
    expected = mmcv.ops.carafe(features, masks, 5, 1, 2)
    last = [t.to(memory_format=torch.channels_last) for t in (features, masks)]
    assert torch.equal(mmcv.ops.carafe(*last, 5, 1, 2), expected)


def test_carafe_of_no_images() -> None:
    features, masks = carafe_inputs(5, 1, 2, n=0)
    output = mmcv.ops.carafe(features, masks, 5, 1, 2)
    assert output.shape == (0, 4, 6, 10)
    output.sum().backward()
    assert features.grad.shape == features.shape
    assert masks.grad.shape == masks.shape


def test_carafe_layer_learns() -> None:
    torch.manual_seed(0)
    layer = mmcv.ops.CARAFEPack(4, 2, up_group=2)
    assert isinstance(layer, nn.Module)
    flat = torch.ones(1, 4, 9, 9)
    output = layer(flat)
    # The kernels are distributions: a flat map stays flat, but for the zeros around it.
    torch.testing.assert_close(output[..., 4:-4, 4:-4], torch.ones(1, 4, 10, 10))
    output.square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in layer.content_encoder.parameters())
