"""Deformable convolution through mmcv's functions and layers, against plain float64 loops."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from mmdwnet.errors import UserError

from .stand_in import check_under_autocast, mmcv, needs_stand_in, random

pytestmark = needs_stand_in


def sample(planes: Tensor, y: float, x: float) -> Tensor:
    """Value of (C, H, W) at a point, as if the map went on with zeros."""
    height, width = planes.shape[1:]
    top, left = math.floor(y), math.floor(x)
    value = planes.new_zeros(len(planes))
    for row, column in itertools.product((top, top + 1), (left, left + 1)):
        if 0 <= row < height and 0 <= column < width:
            value = value + planes[:, row, column] * (1 - abs(y - row)) * (1 - abs(x - column))
    return value


def reference_deform_conv(
    x: Tensor, offset: Tensor, mask: Tensor | None, weight: Tensor, stride, padding, dilation
) -> Tensor:
    n, channels = x.shape[:2]
    filters, of_group, *size = weight.shape
    taps = list(itertools.product(*map(range, size)))
    deform_groups = offset.shape[1] // (2 * len(taps))
    groups = channels // of_group
    output = x.new_zeros(n, filters, *offset.shape[2:])
    for image, i, j in itertools.product(range(n), *map(range, offset.shape[2:])):
        columns = []  # (C, taps)
        for group, planes in enumerate(x[image].chunk(deform_groups)):
            values = []
            for tap, (a, b) in enumerate(taps):
                place = group * len(taps) + tap
                dy, dx = offset[image, 2 * place : 2 * place + 2, i, j].tolist()
                y = i * stride[0] - padding[0] + a * dilation[0] + dy
                x_ = j * stride[1] - padding[1] + b * dilation[1] + dx
                factor = 1 if mask is None else mask[image, place, i, j]
                values.append(sample(planes, y, x_) * factor)
            columns.append(torch.stack(values, dim=1))
        parts = torch.cat(columns).view(groups, of_group * len(taps), 1)
        kernels = weight.view(groups, filters // groups, of_group * len(taps))
        output[image, :, i, j] = (kernels @ parts).flatten()
    return output


# kernel, stride, padding, dilation, groups, deformable groups
GEOMETRIES = {
    'plain': ((3, 3), (1, 1), (1, 1), (1, 1), 1, 1),
    'strided': ((3, 3), (2, 1), (1, 1), (1, 1), 1, 1),
    'dilated': ((2, 3), (1, 2), (1, 2), (2, 1), 1, 1),
    'groups': ((3, 3), (1, 1), (1, 1), (1, 1), 2, 1),
    'deformable groups': ((3, 3), (1, 1), (1, 0), (1, 1), 2, 4),
}


def deform_inputs(kernel, stride, padding, dilation, groups, deform_groups, n=2) -> list[Tensor]:
    """Return input, offset, mask, weight and bias, float64."""
    size = [
        (length + 2 * p - d * (k - 1) - 1) // s + 1
        for length, k, s, p, d in zip((6, 5), kernel, stride, padding, dilation, strict=True)
    ]
    taps = deform_groups * kernel[0] * kernel[1]
    return [
        random(n, 4, 6, 5, seed=0),
        random(n, 2 * taps, *size, seed=1),
        random(n, taps, *size, seed=2),
        random(6, 4 // groups, *kernel, seed=3),
        random(6, seed=4),
    ]


@pytest.mark.parametrize('geometry', GEOMETRIES)
def test_deform_conv(geometry: str) -> None:
    _, *places, groups, deform_groups = GEOMETRIES[geometry]
    x, offset, _, weight, _ = deform_inputs(*GEOMETRIES[geometry])
    expected = reference_deform_conv(x, offset, None, weight, *places)
    output = mmcv.ops.deform_conv2d(x, offset, weight, *places, groups, deform_groups)
    torch.testing.assert_close(output, expected)


@pytest.mark.parametrize('with_bias', [False, True])
@pytest.mark.parametrize('geometry', GEOMETRIES)
def test_modulated_deform_conv(geometry: str, with_bias: bool) -> None:
    _, *places, groups, deform_groups = GEOMETRIES[geometry]
    x, offset, mask, weight, bias = deform_inputs(*GEOMETRIES[geometry])
    expected = reference_deform_conv(x, offset, mask, weight, *places)
    if with_bias:
        expected += bias[:, None, None]
    output = mmcv.ops.modulated_deform_conv2d(
        x, offset, mask, weight, bias if with_bias else None, *places, groups, deform_groups
    )
    torch.testing.assert_close(output, expected)


@pytest.mark.parametrize('geometry', ['dilated', 'deformable groups'])
def test_deform_conv_gradcheck(geometry: str) -> None:
    _, *places, groups, deform_groups = GEOMETRIES[geometry]
    x, offset, mask, weight, bias = deform_inputs(*GEOMETRIES[geometry], n=1)
    for tensor in (x, offset, mask, weight, bias):
        tensor.requires_grad_()
    torch.autograd.gradcheck(
        lambda x, offset, weight: mmcv.ops.deform_conv2d(
            x, offset, weight, *places, groups, deform_groups
        ),
        (x, offset, weight),
        fast_mode=True,
    )
    torch.autograd.gradcheck(
        lambda *tensors: mmcv.ops.modulated_deform_conv2d(*tensors, *places, groups, deform_groups),
        (x, offset, mask, weight, bias),
        fast_mode=True,
    )


@pytest.mark.parametrize('kind', ['DeformConv2dPack', 'ModulatedDeformConv2dPack'])
@pytest.mark.parametrize('size', [(6, 5), (1, 1)])
def test_deformable_layers_begin_as_convolutions_and_learn(kind: str, size: tuple) -> None:
    torch.manual_seed(0)
    layer = getattr(mmcv.ops, kind)(4, 6, 3, padding=1, groups=2, deform_groups=2).double()
    x = random(2, 4, *size, seed=5)
    output = layer(x)
    factor = 1 if kind == 'DeformConv2dPack' else 0.5  # the sigmoid of zero
    expected = factor * F.conv2d(x, layer.weight, padding=1, groups=2)
    torch.testing.assert_close(output, expected)
    output.square().sum().backward()
    assert all(p.grad.isfinite().all() for p in layer.parameters())
    assert layer.conv_offset.bias.grad.abs().sum() > 0


def test_offsets_at_the_kink_one_pixel_outside_have_no_gradient() -> None:
    """As in compiled mmcv, at the border of each padded layer that has not learned yet."""
    x, weight = torch.ones(1, 1, 3, 3), torch.ones(1, 1, 3, 3)
    plain = torch.zeros(1, 18, 3, 3, requires_grad=True)
    modulated = torch.zeros(1, 18, 3, 3, requires_grad=True)
    mmcv.ops.deform_conv2d(x, plain, weight, 1, 1).sum().backward()
    mask = torch.ones(1, 9, 3, 3)
    mmcv.ops.modulated_deform_conv2d(x, modulated, mask, weight, None, 1, 1).sum().backward()
    for offset in (plain, modulated):
        gradient = offset.grad.view(3, 3, 2, 3, 3)  # taps, y or x, positions
        assert not gradient[0, :, 0, 0].any()
        assert not gradient[:, 0, 1, :, 0].any()
        # At the last pixel, a step outward lowers the value.
        assert gradient[1, 1, :, 2, 2].tolist() == [-1, -1]


def test_offsets_of_a_larger_map_are_read_as_compiled_mmcv_reads_them() -> None:
    """DyHead convolves a small map with the offsets and masks of a larger one."""
    x, weight = random(2, 3, 3, 4, seed=11), random(2, 3, 3, 3, seed=12)
    offset, mask = random(2, 18, 6, 8, seed=13), random(2, 9, 6, 8, seed=14)
    for tensor in (offset, mask):
        tensor.requires_grad_()
    output = mmcv.ops.modulated_deform_conv2d(x, offset, mask, weight, None, 1, 1)
    assert output.shape == (2, 2, 3, 4)
    read = [t.flatten(1)[:, : t.shape[1] * 12].view(2, -1, 3, 4) for t in (offset, mask)]
    expected = mmcv.ops.modulated_deform_conv2d(x, *read, weight, None, 1, 1)
    assert torch.equal(output, expected)
    found = torch.autograd.grad(output.sum(), (offset, mask))
    for a, b in zip(found, torch.autograd.grad(expected.sum(), (offset, mask)), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('kind', ['DeformConv2dPack', 'ModulatedDeformConv2dPack'])
def test_half_precision_under_autocast(kind: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    check_under_autocast(getattr(mmcv.ops, kind)(4, 6, 3), dtype)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_deform_conv_of_half_precision_is_computed_in_single(dtype: torch.dtype) -> None:
    tensors = [tensor.to(dtype) for tensor in deform_inputs(*GEOMETRIES['plain'])]
    single = [tensor.float().requires_grad_() for tensor in tensors]
    half = [tensor.requires_grad_() for tensor in tensors]
    output = mmcv.ops.modulated_deform_conv2d(*half, 1, 1)
    expected = mmcv.ops.modulated_deform_conv2d(*single, 1, 1)
    assert torch.equal(output, expected.to(dtype))
    weight = random(*output.shape, seed=7).to(dtype)
    output.backward(weight)
    expected.backward(weight.float())
    for a, b in zip(half, single, strict=True):
        assert torch.equal(a.grad, b.grad.to(dtype))


def test_deform_conv_of_channels_last() -> None:
    x, offset, _, weight, _ = deform_inputs(*GEOMETRIES['plain'])
    last = [t.to(memory_format=torch.channels_last) for t in (x, offset, weight)]
    expected = mmcv.ops.deform_conv2d(x, offset, weight, 1, 1)
    assert torch.equal(mmcv.ops.deform_conv2d(*last, 1, 1), expected)


def test_groups_that_do_not_fit_say_so() -> None:
    x, offset, _, weight, _ = deform_inputs(*GEOMETRIES['plain'])
    with pytest.raises(UserError, match='2 deformable groups of 9 taps need 4 and 36'):
        mmcv.ops.deform_conv2d(x, offset, weight, 1, 1, 1, 1, 2)
    with pytest.raises(UserError, match=r'2 groups of 4 channels .* need 8 and 18'):
        mmcv.ops.deform_conv2d(x, offset, weight, 1, 1, 1, 2, 1)
