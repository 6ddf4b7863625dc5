"""Pooling of regions through mmcv's own functions, against plain float64 formulas."""

import math
from collections.abc import Iterator

import pytest
import torch
import torchvision
from torch import Tensor

from mmdwnet.errors import UserError

from .stand_in import mmcv, needs_stand_in, random

pytestmark = needs_stand_in


def random_rois(count: int, images: int, seed: int) -> Tensor:
    """Regions (count, 5) about images of 40 x 40 pixels, some of them partly outside, float64."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, images, (count, 1), generator=generator).double()
    corner = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 40 - 8
    size = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 30
    return torch.cat([image, corner, corner + size], dim=1)


def bilinear(plane: Tensor, y: float, x: float) -> Tensor:
    """Value of (C, H, W) at a point; zero from one pixel outside on."""
    height, width = plane.shape[1:]
    if not (-1 <= y <= height and -1 <= x <= width):
        return plane.new_zeros(len(plane))
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    upper = plane[:, top, left] * (1 - x + left) + plane[:, top, right] * (x - left)
    lower = plane[:, bottom, left] * (1 - x + left) + plane[:, bottom, right] * (x - left)
    return upper * (1 - y + top) + lower * (y - top)


def reference_roi_align(
    features: Tensor, rois: Tensor, size: int, scale: float, sampling: int, aligned: bool
) -> Tensor:
    output = features.new_zeros(len(rois), features.shape[1], size, size)
    for index, (image, *corners) in enumerate(rois.tolist()):
        x1, y1, x2, y2 = (corner * scale - 0.5 * aligned for corner in corners)
        width, height = x2 - x1, y2 - y1
        if not aligned:
            width, height = max(width, 1), max(height, 1)
        columns = sampling or math.ceil(width / size)
        rows = sampling or math.ceil(height / size)
        for i in range(size):
            for j in range(size):
                values = [
                    bilinear(
                        features[int(image)],
                        y1 + (i + (a + 0.5) / rows) * height / size,
                        x1 + (j + (b + 0.5) / columns) * width / size,
                    )
                    for a in range(rows)
                    for b in range(columns)
                ]
                output[index, :, i, j] = torch.stack(values).mean(dim=0)
    return output


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('sampling', [0, 2])
@pytest.mark.parametrize('scale', [0.25, 1.0])
def test_roi_align(aligned: bool, sampling: int, scale: float) -> None:
    features, rois = random(2, 3, 11, 14, seed=0), random_rois(6, images=2, seed=1)
    expected = reference_roi_align(features, rois, 3, scale, sampling, aligned)
    assert expected.abs().sum() > 0
    layer = mmcv.ops.RoIAlign(3, scale, sampling, aligned=aligned)

    # torchvision's sampling points pass through float32 constants, whatever the type
    torch.testing.assert_close(layer(features, rois), expected, rtol=1e-6, atol=1e-6)
    single = layer(features.float(), rois.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), expected, rtol=1e-4, atol=1e-4)


def test_roi_align_of_a_ramp_is_its_value_at_the_bin_centres() -> None:
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)  # the value is x
    rois = torch.tensor([[0.0, 2, 2, 6, 6]])
    # bins are centred at x = 3 and 5; aligned, pixel 0 has its centre at 0.5
    aligned = mmcv.ops.roi_align(ramp, rois, 2, 1.0, 0, 'avg', True)
    assert aligned[0, 0].tolist() == [[2.5, 4.5]] * 2
    legacy = mmcv.ops.roi_align(ramp, rois, 2, 1.0, 0, 'avg', False)
    assert legacy[0, 0].tolist() == [[3.0, 5.0]] * 2


@pytest.fixture
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def check_roi_align_gradient(dtype: torch.dtype) -> None:
    rois = random_rois(5, images=2, seed=3).to(dtype)
    ours = random(2, 3, 9, 8, seed=2).to(dtype).requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    weight = random(5, 3, 4, 4, seed=4).to(dtype)

    (mmcv.ops.roi_align(ours, rois, 4, 0.25, 0, 'avg', True) * weight).sum().backward()
    (torchvision.ops.roi_align(theirs, rois, 4, 0.25, 0, True) * weight).sum().backward()

    assert ours.grad.abs().sum() > 0
    assert torch.equal(ours.grad, theirs.grad)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_roi_align_gradient(dtype: torch.dtype) -> None:
    check_roi_align_gradient(dtype)


@pytest.mark.usefixtures('deterministic')
def test_roi_align_gradient_with_deterministic_algorithms() -> None:
    check_roi_align_gradient(torch.float32)


@pytest.mark.parametrize('sampling', [0, 2])
def test_roi_align_gradcheck(sampling: int) -> None:
    features = random(1, 2, 5, 6, seed=5).requires_grad_()
    rois = random_rois(3, images=1, seed=6)
    torch.autograd.gradcheck(
        lambda x: mmcv.ops.roi_align(x, rois, 2, 0.25, sampling, 'avg', True), features
    )


def test_roi_align_of_max_says_what_to_do() -> None:
    layer = mmcv.ops.RoIAlign(2, pool_mode='max')
    with pytest.raises(UserError, match=r"pool_mode='max'.*use pool_mode='avg'"):
        layer(torch.zeros(1, 1, 4, 4), torch.zeros(1, 5))


def reference_roi_pool(
    features: Tensor, rois: Tensor, size: int, scale: float
) -> tuple[Tensor, Tensor]:
    """Result, and the gradient of its sum."""
    height, width = features.shape[2:]
    output = features.new_zeros(len(rois), features.shape[1], size, size)
    gradient = torch.zeros_like(features)
    for index, (image, x1, y1, x2, y2) in enumerate(rois.tolist()):
        x1, y1, x2, y2 = x1 * scale, y1 * scale, (x2 + 1) * scale, (y2 + 1) * scale
        if x2 <= x1 or y2 <= y1:
            continue
        for i in range(size):
            for j in range(size):
                top = min(max(math.floor(i * (y2 - y1) / size + y1), 0), height)
                bottom = min(max(math.ceil((i + 1) * (y2 - y1) / size + y1), 0), height)
                left = min(max(math.floor(j * (x2 - x1) / size + x1), 0), width)
                right = min(max(math.ceil((j + 1) * (x2 - x1) / size + x1), 0), width)
                if top >= bottom or left >= right:
                    continue
                for channel, plane in enumerate(features[int(image)]):
                    window = plane[top:bottom, left:right]
                    output[index, channel, i, j] = window.max()
                    y, x = divmod(int(window.argmax()), right - left)
                    gradient[int(image), channel, top + y, left + x] += 1
    return output, gradient


@pytest.mark.parametrize('scale', [0.25, 1.0])
def test_roi_pool(scale: float) -> None:
    features = random(2, 3, 11, 14, seed=7).requires_grad_()
    rois = random_rois(8, images=2, seed=8)
    rois[0, 3] = rois[0, 1] - 5  # a malformed region: no width
    expected, gradient = reference_roi_pool(features.detach(), rois, 3, scale)
    assert expected.abs().sum() > 0

    output = mmcv.ops.roi_pool(features, rois, 3, scale)
    output.sum().backward()

    assert torch.equal(output, expected)
    assert torch.equal(features.grad, gradient)


def test_roi_pool_differs_from_torchvision_as_mmcv_does() -> None:
    features = torch.arange(16.0).view(1, 1, 4, 4)
    rois = torch.tensor([[0.0, 0.0, 0.0, 1.4, 1.4]])  # mmcv: to 2.4, so three pixels are touched
    assert mmcv.ops.roi_pool(features, rois, 1, 1.0).item() == 10
    assert torchvision.ops.roi_pool(features, rois, 1, 1.0).item() == 5


LAYERS = [mmcv.ops.RoIAlign(3, 0.5), mmcv.ops.RoIPool(3, 0.5), mmcv.ops.DeformRoIPool(3, 0.5)]
NAMES = ['align', 'pool', 'deform']


@pytest.mark.parametrize('layer', LAYERS, ids=NAMES)
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_under_autocast(layer: torch.nn.Module, dtype: torch.dtype) -> None:
    rois = random_rois(4, images=2, seed=9).float()
    convolution = torch.nn.Conv2d(3, 4, 3)
    with torch.autocast('cpu', dtype):
        features = convolution(random(2, 3, 20, 20, seed=10).float())
        features.retain_grad()
        output = layer(features, rois)
        output.float().sum().backward()
    assert features.dtype == output.dtype == features.grad.dtype == dtype
    assert convolution.weight.grad.isfinite().all()

    single = features.detach().float().requires_grad_()
    expected = layer(single, rois)
    expected.sum().backward()
    assert torch.equal(output, expected.to(dtype))  # computed in float32, then rounded
    epsilon = torch.finfo(dtype).eps
    torch.testing.assert_close(features.grad.float(), single.grad, rtol=4 * epsilon, atol=epsilon)


@pytest.mark.parametrize('layer', LAYERS, ids=NAMES)
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16, torch.float64])
def test_features_and_regions_of_different_types(
    layer: torch.nn.Module, dtype: torch.dtype
) -> None:
    features = random(2, 3, 20, 20, seed=11).to(dtype)
    rois = random_rois(4, images=2, seed=12).half()
    output = layer(features, rois)
    assert output.dtype == dtype
    expected = layer(features.double(), rois.double())
    tolerance = max(torch.finfo(dtype).eps, 1e-5)  # computed in float32 at least
    torch.testing.assert_close(output.double(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize('layer', LAYERS, ids=NAMES)
def test_channels_last(layer: torch.nn.Module) -> None:
    rois = random_rois(4, images=2, seed=13)
    plain = random(2, 3, 20, 20, seed=14).requires_grad_()
    last = plain.detach().to(memory_format=torch.channels_last, copy=True).requires_grad_()
    weight = random(4, 3, 3, 3, seed=15)
    assert torch.equal(layer(last, rois), layer(plain, rois))
    (layer(plain, rois) * weight).sum().backward()
    (layer(last, rois) * weight.to(memory_format=torch.channels_last)).sum().backward()
    assert torch.equal(last.grad, plain.grad)


@pytest.mark.parametrize('layer', LAYERS, ids=NAMES)
def test_no_regions(layer: torch.nn.Module) -> None:
    features = torch.ones(2, 3, 8, 8, requires_grad=True)
    output = layer(features, torch.zeros(0, 5))
    assert output.shape == (0, 3, 3, 3)
    output.sum().backward()
    assert torch.equal(features.grad, torch.zeros(2, 3, 8, 8))


def reference_deform_roi_pool(
    features: Tensor, rois: Tensor, offset: Tensor, size: int, scale: float, sampling: int
) -> Tensor:
    """Deformable pooling with gamma 0.1, where each offset is (x, y)."""
    output = features.new_zeros(len(rois), features.shape[1], size, size)
    for index, (image, *corners) in enumerate(rois.tolist()):
        x1, y1, x2, y2 = (corner * scale - 0.5 for corner in corners)
        width, height = x2 - x1, y2 - y1
        columns = sampling or math.ceil(width / size)
        rows = sampling or math.ceil(height / size)
        for i in range(size):
            for j in range(size):
                dx, dy = (0.1 * offset[index, :, i, j]).tolist()
                values = [
                    bilinear(
                        features[int(image)],
                        y1 + dy * height + (i + (a + 0.5) / rows) * height / size,
                        x1 + dx * width + (j + (b + 0.5) / columns) * width / size,
                    )
                    for a in range(rows)
                    for b in range(columns)
                ]
                if values:
                    output[index, :, i, j] = torch.stack(values).mean(dim=0)
    return output


@pytest.mark.parametrize('sampling', [0, 2])
@pytest.mark.parametrize('scale', [0.25, 1.0])
def test_deform_roi_pool(sampling: int, scale: float) -> None:
    features, rois = random(2, 3, 11, 14, seed=0), random_rois(6, images=2, seed=1)
    if not sampling:
        rois[0, 3] = rois[0, 1] - 5  # a malformed region: no width, no samples
    offset = random(6, 2, 3, 3, seed=2)
    expected = reference_deform_roi_pool(features, rois, offset, 3, scale, sampling)
    assert expected.abs().sum() > 0

    output = mmcv.ops.deform_roi_pool(features, rois, offset, (3, 3), scale, sampling, 0.1)

    torch.testing.assert_close(output, expected)


def test_deform_roi_pool_of_another_height_than_width() -> None:
    features, rois = random(1, 2, 9, 9, seed=0), random_rois(3, images=1, seed=1)
    offset = random(3, 2, 2, 4, seed=2)
    output = mmcv.ops.deform_roi_pool(features, rois, offset, (2, 4), 0.25, 2, 0.1)
    for column, part in enumerate(offset.unbind(3)):
        # A bin is the only one of a narrow region: its offset moves by parts of the whole region.
        x1, x2 = rois[:, 1], rois[:, 3]
        narrow = rois.clone()
        narrow[:, 1] = x1 + (x2 - x1) * column / 4
        narrow[:, 3] = x1 + (x2 - x1) * (column + 1) / 4
        moved = part[..., None] * torch.tensor([4.0, 1]).view(2, 1, 1)
        alone = mmcv.ops.deform_roi_pool(features, narrow, moved, (2, 1), 0.25, 2, 0.1)
        torch.testing.assert_close(output[..., column : column + 1], alone)


@pytest.mark.parametrize('sampling', [0, 2])
def test_deform_roi_pool_gradcheck(sampling: int) -> None:
    features = random(1, 2, 5, 6, seed=3).requires_grad_()
    offset = random(3, 2, 2, 2, seed=4).requires_grad_()
    rois = random_rois(3, images=1, seed=5)
    torch.autograd.gradcheck(
        lambda x, y: mmcv.ops.deform_roi_pool(x, rois, y, (2, 2), 0.25, sampling, 0.1),
        (features, offset),
    )


@pytest.mark.parametrize('kind', ['DeformRoIPoolPack', 'ModulatedDeformRoIPoolPack'])
def test_layers_with_offsets_begin_as_roi_align_and_learn(kind: str) -> None:
    torch.manual_seed(0)
    layer = getattr(mmcv.ops, kind)((3, 3), 4, 16, 0.25, sampling_ratio=2).double()
    features, rois = random(2, 4, 11, 14, seed=6).requires_grad_(), random_rois(5, 2, seed=7)
    output = layer(features, rois)
    aligned = mmcv.ops.roi_align(features, rois, 3, 0.25, 2, 'avg', True)
    factor = 1 if kind == 'DeformRoIPoolPack' else 0.5  # the sigmoid of zero
    torch.testing.assert_close(output, factor * aligned, rtol=1e-6, atol=1e-6)
    output.square().sum().backward()
    assert layer.offset_fc[-1].bias.grad.abs().sum() > 0
    assert features.grad.abs().sum() > 0
