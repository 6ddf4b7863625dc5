"""Non-maximum suppression."""

import numpy as np
import torch
import torchvision
from torch import Tensor

from .computing import compute_dtype


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Suppress boxes that overlap a better one.

    Args:
        boxes: (N, 4), x1, y1, x2, y2 in pixels.
        scores: (N,).
        iou_threshold: Boxes whose IoU with a better one is greater are dropped.
        offset: 0 or 1; a box's width is `x2 - x1 + offset`, its height likewise.

    Returns:
        Indices of the kept boxes, int64, by descending score; equal scores keep their order.
    """
    if boxes.numel() == 0:
        return boxes.new_empty(0, dtype=torch.long)
    dtype = compute_dtype(boxes, scores)
    boxes = boxes.to(dtype)
    if offset:  # moving x2 and y2 by it gives this width and height, and the same intersections
        boxes = boxes + boxes.new_tensor([0, 0, offset, offset])
    # mmcv compares in the boxes' dtype. torchvision takes a float64 threshold, and an IoU of 0.6 in
    # float32 is greater than 0.6 in float64.
    threshold = torch.tensor(iou_threshold, dtype=dtype).item()
    return torchvision.ops.nms(boxes, scores.to(dtype), threshold)


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Pick boxes by descending score; each lowers the scores of the boxes it overlaps.

    Ties are broken as in mmcv's loop: the last box left takes the place of a dropped box, and the
    first of equal scores wins.

    Args:
        boxes: (N, 4), x1, y1, x2, y2 in pixels, on the CPU.
        scores: (N,), on the CPU.
        dets: (N, 5), on the CPU; its first rows receive the picked boxes and their scores.
        iou_threshold: Scores are lowered from this IoU on (methods 0 and 1).
        sigma: Width of the Gaussian (method 2).
        min_score: Boxes whose score falls below it are dropped.
        method: 0 drops an overlapping box, 1 multiplies its score by 1 - IoU, 2 by
            exp(-IoU^2 / sigma).
        offset: 0 or 1; a box's width is `x2 - x1 + offset`, its height likewise.

    Returns:
        Indices of the picked boxes, int64, in the order of picking.
    """
    if boxes.numel() == 0:
        return torch.empty(0, dtype=torch.long)
    # The loop is sequential and its steps are small: numpy has less overhead per step than torch.
    dtype = compute_dtype(boxes, scores)
    corners = boxes.detach().to(dtype).numpy()
    score = scores.detach().to(dtype).numpy().copy()
    area = (corners[:, 2:] - corners[:, :2] + offset).prod(axis=1)
    threshold, sigma, min_score = (score.dtype.type(x) for x in (iou_threshold, sigma, min_score))

    # `left` lists the boxes in order: the picked ones first, then the remaining candidates.
    left: np.ndarray = np.arange(len(score), dtype=np.int64)
    picked = 0
    while picked < len(left):
        candidates = score[left[picked:]]
        # A NaN, from boxes without area, compares as neither greater nor less than anything.
        best = picked + (0 if np.isnan(candidates[0]) else int(np.nanargmax(candidates)))
        left[[picked, best]] = left[[best, picked]]
        box, rest = left[picked], left[picked + 1 :]
        picked += 1

        low = np.maximum(corners[box, :2], corners[rest, :2])
        high = np.minimum(corners[box, 2:], corners[rest, 2:])
        overlap = (high - low + offset).clip(min=0).prod(axis=1)
        with np.errstate(divide='ignore', invalid='ignore'):
            iou = overlap / (area[box] + area[rest] - overlap)
        if method == 0:
            score[rest] *= ~(iou >= threshold)
        elif method == 1:
            score[rest] *= np.where(iou >= threshold, 1 - iou, 1)
        else:
            score[rest] *= np.exp(-(iou * iou) / sigma)

        keep = ~(score[rest] < min_score)
        count = np.count_nonzero(keep)
        kept = rest[:count].copy()
        kept[~keep[:count]] = rest[count:][keep[count:]][::-1]
        left = np.concatenate([left[:picked], kept])

    dets[: len(left), :4] = boxes.detach()[left]
    dets[: len(left), 4] = torch.from_numpy(score[left])
    return torch.from_numpy(left)


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Group boxes: each kept by NMS with those that it suppresses.

    Args:
        dets: (N, 5), x1, y1, x2, y2 in pixels and the score.
        iou_threshold: Boxes whose IoU with a better one is not less are suppressed.

    Returns:
        Indices of the boxes of each group, by descending score, as are the groups.
    """
    dets = dets.to(compute_dtype(dets))
    left = dets[:, 4].argsort(descending=True, stable=True)
    groups = []
    while len(left):
        overlaps = torchvision.ops.box_iou(dets[left[:1], :4], dets[left[1:], :4])[0]
        matched = overlaps >= iou_threshold
        groups.append([int(left[0]), *left[1:][matched].tolist()])
        left = left[1:][~matched]
    return groups


def line_nms_forward(
    boxes: Tensor, scores: Tensor, overlap: float, top_k: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Suppress lanes that lie near a better one, as mmdet's CLRNet does on CUDA.

    Args:
        boxes: (N, 5 + P): two scores, the start in parts of the P - 1 steps between rows, one value
            that is not used, the length in rows, and x in each of the P rows, in pixels.
        scores: (N,).
        overlap: Lanes are suppressed whose mean distance to a better one, in x over the rows that
            both cover, is less than this.
        top_k: How many lanes to keep at most.

    Returns:
        Indices of the kept lanes by descending score, (N,), filled up with zeros; their number, a
        scalar; and for each lane the number, from 1, of the kept one that it belongs to, (N,), 0
        for none. All are int64.
    """
    lanes = boxes.detach().to('cpu', compute_dtype(boxes))
    rows = lanes.shape[1] - 5
    start = (lanes[:, 2] * (rows - 1) + 0.5).long()
    end = start + lanes[:, 4].long() - 1
    left = scores.detach().cpu().argsort(descending=True, stable=True)
    keep, parent = torch.zeros_like(left), torch.zeros_like(left)
    number = 0
    while len(left) and number < top_k:
        best, keep[number] = left[0], left[0]
        number += 1
        first = start[left].maximum(start[best])
        last = end[left].minimum(end[best]).clamp(max=rows - 1)
        row = torch.arange(rows)
        common = (row >= first[:, None]) & (row <= last[:, None])
        distance = ((lanes[left, 5:] - lanes[best, 5:]).abs() * common).sum(dim=1)
        near = (last >= first) & (first >= 0) & (distance < overlap * (last - first + 1))
        near[0] = True
        parent[left[near]] = number
        left = left[~near]
    found = (keep, torch.tensor(number), parent)
    return tuple(tensor.to(boxes.device) for tensor in found)  # type: ignore[return-value]
