"""Boxes are decoded, suppressed and pooled as mmdet does it."""

import mmdwnet  # noqa: F401  (first, as mmdet needs its operators)

# isort: split
import pytest
import torch
from mmcv.ops import batched_nms
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder
from mmengine.config import ConfigDict
from torch import Tensor

from mmdwnet.deploy.exporting import boxes

IMAGE = torch.zeros(1, 3, 90, 120)


def random_boxes(n: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(n, 2, 2, generator=generator) * torch.tensor([120.0, 90.0])
    return torch.cat([corners.amin(1), corners.amax(1)], dim=1)


@pytest.mark.parametrize('clip_border', [True, False])
def test_decode(clip_border: bool) -> None:
    coder = DeltaXYWHBBoxCoder(target_stds=[0.1, 0.1, 0.2, 0.2], clip_border=clip_border)
    deltas = torch.randn(50, 4, generator=torch.Generator().manual_seed(1)) * 9
    expected = coder.decode(random_boxes(50), deltas, max_shape=(90, 120))
    torch.testing.assert_close(boxes.decode(coder, random_boxes(50), deltas, IMAGE), expected)


@pytest.mark.parametrize('count', [0, 1, 300])
@pytest.mark.parametrize('class_agnostic', [True, False])
def test_suppress(count: int, class_agnostic: bool) -> None:
    found = random_boxes(count)
    scores = torch.rand(count, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(count) % 3
    nms = ConfigDict(type='nms', iou_threshold=0.5, class_agnostic=class_agnostic)
    _, expected = batched_nms(found, scores, labels, nms) if count else (None, labels)
    for most in (-1, 20):
        kept = boxes.suppress(found, scores, labels, ConfigDict(nms=nms, max_per_img=most))
        assert kept.tolist() == expected[: None if most < 0 else most].tolist()


def test_best_are_the_highest_above_the_threshold() -> None:
    scores = torch.tensor([0.3, 0.0, 0.9, 0.1])
    for threshold, count, expected in [
        (-1, 2, [2, 0]),
        (-1, 9, [2, 0, 3, 1]),
        (-1, -1, [2, 0, 3, 1]),
        (0.2, 9, [2, 0]),
        (0.95, 9, []),
    ]:
        found, places = boxes.best(scores, threshold, count)
        assert places.tolist() == expected
        assert found.equal(scores[places])


@pytest.mark.parametrize('levels', [1, 3])
def test_pool(levels: int) -> None:
    extractor = SingleRoIExtractor(
        dict(type='RoIAlign', output_size=7, sampling_ratio=2), 8, [4, 8, 16][:levels], 10
    )
    generator = torch.Generator().manual_seed(0)
    maps = [
        torch.randn(1, 8, 24 // 2**level, 30 // 2**level, generator=generator)
        for level in range(levels)
    ]
    # Of all sizes, in levels that alternate.
    found = torch.cat([random_boxes(20), torch.tensor([[3.0, 3.0, 9.0, 9.0]])]).repeat(2, 1)
    expected = extractor(maps, torch.cat([torch.zeros(len(found), 1), found], dim=1))
    torch.testing.assert_close(boxes.pool(extractor, maps, found), expected)
