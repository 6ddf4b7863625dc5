"""Non-maximum suppression through mmcv's own functions, against plain float64 formulas."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from .stand_in import mmcv, needs_stand_in

pytestmark = needs_stand_in


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


@pytest.mark.parametrize('function', [mmcv.ops.nms, mmcv.ops.soft_nms])
def test_no_boxes(function) -> None:
    dets, indices = function(torch.zeros(0, 4), torch.zeros(0), iou_threshold=0.5)
    assert dets.shape == (0, 5)
    assert indices.shape == (0,)
    assert indices.dtype == torch.long


def reference_nms_match(boxes: Tensor, scores: Tensor, threshold: float) -> list[list[int]]:
    rows = boxes.double().tolist()
    groups: list[list[int]] = []
    for index in scores.argsort(descending=True, stable=True).tolist():
        for group in groups:
            if iou(rows[index], rows[group[0]], 0) >= threshold:
                group.append(index)
                break
        else:
            groups.append([index])
    return groups


@pytest.mark.parametrize('threshold', [0.2, 0.5])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_nms_match(threshold: float, dtype: torch.dtype) -> None:
    boxes, scores = random_boxes(80, seed=7)
    expected = reference_nms_match(boxes, scores, threshold)
    assert 1 < len(expected) < 80
    dets = torch.cat([boxes, scores[:, None]], dim=1).to(dtype)
    assert [group.tolist() for group in mmcv.ops.nms_match(dets, threshold)] == expected
    assert [group.tolist() for group in mmcv.ops.nms_match(dets.numpy(), threshold)] == expected


def test_nms_match_joins_a_box_whose_iou_is_the_threshold() -> None:
    dets = torch.tensor([[0.0, 0, 10, 6, 0.4], [0, 0, 10, 10, 0.9]])
    assert [group.tolist() for group in mmcv.ops.nms_match(dets, 0.6)] == [[1, 0]]
    assert [group.tolist() for group in mmcv.ops.nms_match(dets, 0.61)] == [[1], [0]]


# The original family has no lanes.
needs_lanes = pytest.mark.skipif(
    not hasattr(mmcv.ops, 'line_nms'), reason='this mmcv has no line_nms'
)


def random_lanes(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Lanes (count, 5 + 72) as mmdet's CLRNet gives them, and distinct scores (count,)."""
    generator = torch.Generator().manual_seed(seed)
    lanes = torch.rand(count, 77, generator=generator, dtype=torch.float64)
    lanes[:, 4] = (lanes[:, 4] * 60).round()
    lanes[:, 5:] = torch.rand(count, 1, generator=generator) * 200 + lanes[:, 5:] * 20
    return lanes, torch.rand(count, generator=generator)


def are_near(a: list[float], b: list[float], threshold: float) -> bool:
    starts = [int(lane[2] * 71 + 0.5) for lane in (a, b)]
    last = min(start + int(lane[4]) - 1 for start, lane in zip(starts, (a, b), strict=True))
    rows = range(max(starts), min(last, 71) + 1)
    distance = sum(abs(a[5 + row] - b[5 + row]) for row in rows)
    return len(rows) > 0 and distance < threshold * len(rows)


@needs_lanes
@pytest.mark.parametrize('top_k', [4, 60])
def test_line_nms(top_k: int) -> None:
    lanes, scores = random_lanes(60, seed=0)
    rows = lanes.tolist()
    kept: list[int] = []
    parents = [0] * 60
    for index in scores.argsort(descending=True).tolist():
        for number, other in enumerate(kept, 1):
            if are_near(rows[index], rows[other], 15):
                parents[index] = number
                break
        else:
            if len(kept) < top_k:
                kept.append(index)
                parents[index] = len(kept)
    assert 1 < len(kept) < 60

    keep, number, parent = mmcv.ops.line_nms(lanes, scores, 15.0, top_k)

    assert number == len(kept)
    assert keep.tolist() == kept + [0] * (60 - len(kept))
    assert parent.tolist() == parents


@needs_lanes
def test_line_nms_of_no_lanes() -> None:
    keep, number, parent = mmcv.ops.line_nms(torch.zeros(0, 77), torch.zeros(0), 15.0, 4)
    assert (len(keep), number, len(parent)) == (0, 0, 0)
