"""Boxes in operators that ONNX has, with the results of mmdet's own functions.

mmdet's own decide by the data, for example whether there are boxes at all, which a graph cannot.
Here, rows that mean nothing stand in for what is missing, and are dropped at the end.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torchvision
from torch import Tensor, nn


def decode(coder: Any, anchors: Tensor, deltas: Tensor, image: Tensor) -> Tensor:
    """Move anchors by predicted deltas, and clip them at the borders of the image.

    Args:
        coder: mmdet's coder of boxes.
        anchors: (n, 4), x1, y1, x2, y2 in pixels.
        deltas: (n, 4).
        image: (1, 3, H, W), the image.

    Returns:
        (n, 4), x1, y1, x2, y2 in pixels.
    """
    boxes = coder.decode(anchors, deltas)
    if not coder.clip_border:
        return boxes
    h, w = image.shape[-2:]
    x, y = boxes[:, 0::2].clamp(0, w), boxes[:, 1::2].clamp(0, h)
    return torch.stack((x, y), dim=2).flatten(1)


def best(scores: Tensor, threshold: float, count: int) -> tuple[Tensor, Tensor]:
    """Find the highest scores.

    Args:
        scores: (n,), not negative.
        threshold: Only scores above it are found.
        count: How many to find at most; all, if not positive.

    Returns:
        The scores, (at most count,), the highest first, and their indices.
    """
    if count > 0:
        # A graph cannot choose the lesser of `count` and n.
        scores, places = torch.cat([scores, scores.new_full((count,), -1)]).topk(count)
    else:
        scores, places = scores.sort(descending=True)
    above = scores > max(threshold, -0.5)
    return scores[above], places[above]


def suppress(boxes: Tensor, scores: Tensor, groups: Tensor, settings: Any) -> Tensor:
    """Find the boxes that non-maximum suppression keeps, the highest scores first.

    Args:
        boxes: (n, 4), x1, y1, x2, y2.
        scores: (n,).
        groups: (n,), int64. Boxes of different groups do not suppress each other.
        settings: mmdet's `test_cfg` of a head, with `nms` of the type 'nms', and `max_per_img`.

    Returns:
        Their indices, (at most max_per_img,), int64.
    """
    # A box without an area, after all others, as a graph cannot find a maximum of none.
    boxes = torch.cat([boxes, boxes.new_zeros(1, 4)])
    scores = torch.cat([scores, scores.new_full((1,), -1)])
    if not settings.nms.get('class_agnostic', False):
        groups = torch.cat([groups, groups.new_zeros(1)])
        boxes = boxes + (groups.to(boxes.dtype) * (boxes.max() + 1))[:, None]
    kept = torchvision.ops.nms(boxes, scores, settings.nms.iou_threshold)[:-1]
    return kept[: settings.max_per_img] if settings.max_per_img > 0 else kept


def pool(extractor: Any, maps: Sequence[Tensor], boxes: Tensor) -> Tensor:
    """Pool the features of boxes, each from the level for its size, as mmdet's extractor does.

    Args:
        extractor: mmdet's SingleRoIExtractor.
        maps: Maps of all levels, each (1, C, H_i, W_i).
        boxes: (n, 4), x1, y1, x2, y2 in pixels.

    Returns:
        (n, C, h, w).
    """
    layers = extractor.roi_layers
    rois = torch.cat([torch.zeros_like(boxes[:, :1]), boxes], dim=1)
    if len(layers) == 1:
        return _align(layers[0], maps[0], rois)
    levels = extractor.map_roi_levels(rois, len(layers))
    places = [(levels == level).nonzero().squeeze(1) for level in range(len(layers))]
    pooled = [
        _align(layer, feat, rois[place])
        for layer, feat, place in zip(layers, maps, places, strict=False)
    ]
    return torch.cat(pooled)[torch.cat(places).argsort()]


def _align(layer: nn.Module, feat: Tensor, rois: Tensor) -> Tensor:
    return torchvision.ops.roi_align(
        feat,
        rois,
        layer.output_size,
        layer.spatial_scale,
        layer.sampling_ratio,
        layer.aligned,
    )


def of_class(values: Tensor, labels: Tensor) -> Tensor:
    """Choose from values for each class, or from values for all classes.

    Args:
        values: (n, classes, ...), or (n, 1, ...).
        labels: (n,), int64.

    Returns:
        (n, ...).
    """
    if values.shape[1] == 1:
        return values[:, 0]
    # Not len(), which a graph takes for a constant.
    return values[torch.arange(labels.shape[0], device=labels.device), labels]
