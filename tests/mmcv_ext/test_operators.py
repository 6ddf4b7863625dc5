"""The stand-in's operators, through mmcv's own functions, against plain float64 formulas."""

import math
from collections.abc import Iterator

import mmcv.utils
import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor

import mmdwnet
from mmdwnet.errors import UserError

assert mmdwnet  # it is what makes the next line possible
import mmcv.ops  # noqa: E402

pytestmark = pytest.mark.skipif(
    mmcv._ext.__spec__.origin != 'mmdwnet.mmcv_ext',
    reason='this mmcv has compiled operators, so that the stand-in is not in use',
)


def random_boxes(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Overlapping boxes (count, 4) in about 60 x 60 pixels, and distinct scores (count,)."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 40
    size = torch.rand(count, 2, generator=generator) * 20
    scores = torch.rand(count, generator=generator)
    return torch.cat([corner, corner + size], dim=1), scores


def iou(a: list[float], b: list[float], offset: int) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0]) + offset
    height = min(a[3], b[3]) - max(a[1], b[1]) + offset
    inter = max(width, 0) * max(height, 0)
    areas = [(x2 - x1 + offset) * (y2 - y1 + offset) for x1, y1, x2, y2 in (a, b)]
    return inter / (sum(areas) - inter)


def reference_nms(boxes: Tensor, scores: Tensor, threshold: float, offset: int) -> list[int]:
    rows = boxes.double().tolist()
    kept: list[int] = []
    for index in scores.argsort(descending=True, stable=True).tolist():
        if all(iou(rows[index], rows[other], offset) <= threshold for other in kept):
            kept.append(index)
    return kept


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('threshold', [0.2, 0.5, 0.7])
def test_nms(offset: int, threshold: float) -> None:
    boxes, scores = random_boxes(150, seed=offset)
    expected = reference_nms(boxes, scores, threshold, offset)
    assert 0 < len(expected) < 150

    dets, indices = mmcv.ops.nms(boxes, scores, threshold, offset=offset)

    assert indices.tolist() == expected
    assert torch.equal(dets, torch.cat([boxes, scores[:, None]], dim=1)[expected])


def test_nms_offset_decides() -> None:
    # 1 x 2 of 2 x 2 pixels without the offset, 2 x 3 of 3 x 3 with it
    boxes, scores = torch.tensor([[0.0, 0, 2, 2], [0, 0, 1, 2]]), torch.tensor([0.4, 0.9])
    assert mmcv.ops.nms(boxes, scores, 0.6, offset=0)[1].tolist() == [1, 0]
    assert mmcv.ops.nms(boxes, scores, 0.6, offset=1)[1].tolist() == [1]


def test_nms_keeps_a_box_whose_iou_is_the_threshold() -> None:
    boxes, scores = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 6]]), torch.tensor([0.9, 0.4])
    assert mmcv.ops.nms(boxes, scores, 0.6)[1].tolist() == [0, 1]
    assert mmcv.ops.nms(boxes, scores, 0.59)[1].tolist() == [0]


def test_nms_of_equal_scores_keeps_the_first() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [50, 50, 60, 60], [50, 50, 60, 61]])
    assert mmcv.ops.nms(boxes, torch.full((4,), 0.5), 0.5)[1].tolist() == [0, 2]


def test_nms_options_of_mmcv() -> None:
    boxes, scores = random_boxes(80, seed=3)
    kept = reference_nms(boxes, scores, 0.5, 0)
    assert mmcv.ops.nms(boxes, scores, 0.5, max_num=7)[1].tolist() == kept[:7]
    good = [index for index in kept if scores[index] > 0.5]
    assert mmcv.ops.nms(boxes, scores, 0.5, score_threshold=0.5)[1].tolist() == good
    dets, indices = mmcv.ops.nms(boxes.numpy(), scores.numpy(), 0.5)
    assert isinstance(dets, np.ndarray)
    assert indices.tolist() == kept


def test_nms_types() -> None:
    boxes, scores = random_boxes(60, seed=4)
    boxes, scores = boxes.bfloat16(), scores.bfloat16().float()  # values that all types hold
    kept = reference_nms(boxes, scores, 0.5, 0)
    for box_type, score_type in [
        (torch.bfloat16, torch.bfloat16),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.bfloat16),
        (torch.float64, torch.float32),
    ]:
        indices = mmcv.ops.nms(boxes.to(box_type), scores.to(score_type), 0.5)[1]
        assert indices.tolist() == kept


def reference_soft_nms(
    boxes: Tensor, scores: Tensor, threshold: float, sigma: float, min_score: float, method: str
) -> tuple[list[int], list[float]]:
    rows, left = boxes.double().tolist(), dict(enumerate(scores.double().tolist()))
    picked: list[int] = []
    picked_scores: list[float] = []
    while left:
        best = max(left, key=lambda index: left[index])
        picked.append(best)
        picked_scores.append(left.pop(best))
        for index in list(left):
            overlap = iou(rows[best], rows[index], 0)
            if method == 'gaussian':
                left[index] *= math.exp(-(overlap**2) / sigma)
            elif overlap >= threshold:
                left[index] *= 1 - overlap if method == 'linear' else 0
            if left[index] < min_score:
                del left[index]
    return picked, picked_scores


@pytest.mark.parametrize('method', ['naive', 'linear', 'gaussian'])
@pytest.mark.parametrize(
    ('threshold', 'sigma', 'min_score'), [(0.3, 0.5, 1e-3), (0.5, 0.2, 0.05), (0.1, 1.0, 0.3)]
)
def test_soft_nms(method: str, threshold: float, sigma: float, min_score: float) -> None:
    boxes, scores = random_boxes(120, seed=5)
    options = {'iou_threshold': threshold, 'sigma': sigma, 'min_score': min_score, 'method': method}
    expected, expected_scores = reference_soft_nms(
        boxes, scores, threshold, sigma, min_score, method
    )

    dets, indices = mmcv.ops.soft_nms(boxes, scores, **options)

    assert indices.tolist() == expected
    assert torch.equal(dets[:, :4], boxes[expected])
    # each score is a product of up to 120 factors in float32
    torch.testing.assert_close(dets[:, 4].tolist(), expected_scores, rtol=1e-5, atol=1e-7)
    dets_64, indices_64 = mmcv.ops.soft_nms(boxes.double().numpy(), scores.numpy(), **options)
    assert indices_64.tolist() == expected
    np.testing.assert_allclose(dets_64[:, 4], expected_scores, rtol=1e-12)


def test_soft_nms_of_equal_scores_and_boxes_without_area() -> None:
    """The example of mmcv's documentation: the last box is the only one to fall out."""
    boxes = torch.tensor([[4.0, 3, 5, 3], [4, 3, 5, 4], *[[3, 1, 3, 1]] * 4])
    scores = torch.tensor([0.9, 0.9, 0.5, 0.5, 0.4, 0.0])
    dets, indices = mmcv.ops.soft_nms(boxes, scores, iou_threshold=0.6, sigma=0.5)
    assert indices.tolist() == [0, 1, 2, 3, 4]
    assert dets[:, 4].tolist() == pytest.approx([0.9, 0.9, 0.5, 0.5, 0.4])


def test_soft_nms_fills_the_place_of_a_dropped_box_with_the_last() -> None:
    # Box 1 overlaps box 0 and falls; box 3 takes its place, before its equal, box 2.
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10], [40, 0, 50, 10]])
    scores = torch.tensor([0.9, 0.8, 0.5, 0.5])
    assert mmcv.ops.soft_nms(boxes, scores, method='naive')[1].tolist() == [0, 3, 2]


def test_soft_nms_offset() -> None:
    boxes, scores = torch.tensor([[0.0, 0, 2, 2], [0, 0, 1, 2]]), torch.tensor([0.9, 0.8])
    for offset, overlap in [(0, 1 / 2), (1, 2 / 3)]:
        dets = mmcv.ops.soft_nms(boxes, scores, method='linear', offset=offset)[0]
        assert dets[1, 4].item() == pytest.approx(0.8 * (1 - overlap))


@pytest.mark.parametrize('split_thr', [10000, 10])
@pytest.mark.parametrize('kind', ['nms', 'soft_nms'])
def test_batched_nms_keeps_classes_apart(kind: str, split_thr: int) -> None:
    boxes, scores = random_boxes(90, seed=6)
    classes = torch.arange(90) % 3
    expected = {}
    for label in range(3):
        members = (classes == label).nonzero()[:, 0]
        if kind == 'nms':
            kept = reference_nms(boxes[members], scores[members], 0.5, 0)
            kept_scores = scores[members][kept].tolist()
        else:
            kept, kept_scores = reference_soft_nms(
                boxes[members], scores[members], 0.5, 0.5, 0.05, 'linear'
            )
        expected |= dict(zip(members[kept].tolist(), kept_scores, strict=True))
    order = sorted(expected, key=lambda index: -expected[index])

    options = {'type': kind, 'iou_threshold': 0.5, 'split_thr': split_thr}
    if kind == 'soft_nms':
        options['min_score'] = 0.05
    dets, indices = mmcv.ops.batched_nms(boxes, scores, classes, options)

    assert indices.tolist() == order
    assert torch.equal(dets[:, :4], boxes[order])
    assert dets[:, 4].tolist() == pytest.approx([expected[index] for index in order], rel=1e-4)


def random_rois(count: int, images: int, seed: int) -> Tensor:
    """Regions (count, 5) about images of 40 x 40 pixels, some of them partly outside, float64."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, images, (count, 1), generator=generator).double()
    corner = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 40 - 8
    size = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 30
    return torch.cat([image, corner, corner + size], dim=1)


def random_features(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


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
    features, rois = random_features(2, 3, 11, 14, seed=0), random_rois(6, images=2, seed=1)
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
    ours = random_features(2, 3, 9, 8, seed=2).to(dtype).requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    weight = random_features(5, 3, 4, 4, seed=4).to(dtype)

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
    features = random_features(1, 2, 5, 6, seed=5).requires_grad_()
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
    features = random_features(2, 3, 11, 14, seed=7).requires_grad_()
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


LAYERS = [mmcv.ops.RoIAlign(3, 0.5), mmcv.ops.RoIPool(3, 0.5)]


@pytest.mark.parametrize('layer', LAYERS, ids=['align', 'pool'])
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_under_autocast(layer: torch.nn.Module, dtype: torch.dtype) -> None:
    rois = random_rois(4, images=2, seed=9).float()
    convolution = torch.nn.Conv2d(3, 4, 3)
    with torch.autocast('cpu', dtype):
        features = convolution(random_features(2, 3, 20, 20, seed=10).float())
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


@pytest.mark.parametrize('layer', LAYERS, ids=['align', 'pool'])
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16, torch.float64])
def test_features_and_regions_of_different_types(
    layer: torch.nn.Module, dtype: torch.dtype
) -> None:
    features = random_features(2, 3, 20, 20, seed=11).to(dtype)
    rois = random_rois(4, images=2, seed=12).half()
    output = layer(features, rois)
    assert output.dtype == dtype
    expected = layer(features.double(), rois.double())
    tolerance = max(torch.finfo(dtype).eps, 1e-5)  # computed in float32 at least
    torch.testing.assert_close(output.double(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize('layer', LAYERS, ids=['align', 'pool'])
def test_channels_last(layer: torch.nn.Module) -> None:
    rois = random_rois(4, images=2, seed=13)
    plain = random_features(2, 3, 20, 20, seed=14).requires_grad_()
    last = plain.detach().to(memory_format=torch.channels_last, copy=True).requires_grad_()
    weight = random_features(4, 3, 3, 3, seed=15)
    assert torch.equal(layer(last, rois), layer(plain, rois))
    (layer(plain, rois) * weight).sum().backward()
    (layer(last, rois) * weight.to(memory_format=torch.channels_last)).sum().backward()
    assert torch.equal(last.grad, plain.grad)


@pytest.mark.parametrize('layer', LAYERS, ids=['align', 'pool'])
def test_no_regions(layer: torch.nn.Module) -> None:
    features = torch.ones(2, 3, 8, 8, requires_grad=True)
    output = layer(features, torch.zeros(0, 5))
    assert output.shape == (0, 3, 3, 3)
    output.sum().backward()
    assert torch.equal(features.grad, torch.zeros(2, 3, 8, 8))


@pytest.mark.parametrize('function', [mmcv.ops.nms, mmcv.ops.soft_nms])
def test_no_boxes(function) -> None:
    dets, indices = function(torch.zeros(0, 4), torch.zeros(0), iou_threshold=0.5)
    assert dets.shape == (0, 5)
    assert indices.shape == (0,)
    assert indices.dtype == torch.long


def test_other_operators_name_themselves() -> None:
    for call, name in [
        (lambda: mmcv.ops.nms_match(torch.zeros(1, 5), 0.5), 'nms_match'),
        (lambda: mmcv.ops.deform_conv2d(*[torch.zeros(1, 18, 3, 3)] * 3), 'deform_conv_forward'),
    ]:
        with pytest.raises(UserError, match=rf"'{name}'.*install an mmcv with compiled operators"):
            call()


def test_environment_report_names_the_stand_in() -> None:
    report = mmcv.utils.collect_env()
    assert 'mmdwnet' in report['MMCV Compiler']
    assert report['MMCV CUDA Compiler']


@pytest.mark.parametrize('class_weight', [None, torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)])
def test_sigmoid_focal_loss_and_its_gradient(class_weight):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(7, 3, dtype=torch.float64, generator=generator).requires_grad_()
    target = torch.tensor([0, 1, 2, 3, 3, 1, 0])  # 3 is no class
    gamma, alpha = 1.5, 0.3

    def by_definition(logits: Tensor) -> Tensor:
        probability = logits.sigmoid()
        losses = -(1 - alpha) * probability**gamma * (1 - probability).log()
        for sample, label in enumerate(target.tolist()):
            if label < 3:
                p = probability[sample, label]
                positive = torch.zeros_like(losses)
                positive[sample, label] = 1
                losses = torch.where(positive > 0, -alpha * (1 - p) ** gamma * p.log(), losses)
        if class_weight is not None:
            losses = losses * torch.cat([class_weight, class_weight.new_ones(1)])[target, None]
        return losses

    def ours(logits: Tensor) -> Tensor:
        return mmcv.ops.sigmoid_focal_loss(logits, target, gamma, alpha, class_weight, 'sum')

    torch.testing.assert_close(ours(logits), by_definition(logits).sum())
    (gradient,) = torch.autograd.grad(ours(logits), logits)
    (expected,) = torch.autograd.grad(by_definition(logits).sum(), logits)
    torch.testing.assert_close(gradient, expected)
