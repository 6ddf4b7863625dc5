"""mmcv's operators on torchvision's: the contents of the stand-in for `mmcv._ext`.

Each operator takes the arguments of its compiled namesake, with the same names and in the same
order, and writes into the same output tensors. Unlike those it takes any floating-point dtype, or a
mix (half precision is computed in float32), and any memory format.
"""

from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
import torch
import torchvision
from torch import Tensor

from mmdwnet.errors import UserError

__all__ = [
    'get_compiler_version',
    'get_compiling_cuda_version',
    'nms',
    'roi_align_backward',
    'roi_align_forward',
    'roi_pool_backward',
    'roi_pool_forward',
    'sigmoid_focal_loss_backward',
    'sigmoid_focal_loss_forward',
    'softnms',
]


def _compute_dtype(*tensors: Tensor) -> torch.dtype:
    """Return the smallest dtype that holds all `tensors` and that torchvision takes on the CPU."""
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype


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
    dtype = _compute_dtype(boxes, scores)
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
    dtype = _compute_dtype(boxes, scores)
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


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Average bilinear samples of the features over the bins of each region.

    Args:
        input: (N, C, H, W), the features.
        rois: (K, 5), index in the batch, x1, y1, x2, y2 in pixels of the image.
        output: (K, C, aligned_height, aligned_width), receives the result.
        argmax_y: Used by max pooling only; left unchanged.
        argmax_x: Used by max pooling only; left unchanged.
        aligned_height: Bins per region, vertically.
        aligned_width: Bins per region, horizontally.
        spatial_scale: Feature pixels per image pixel.
        sampling_ratio: Samples per bin and direction; 0 for one per feature pixel.
        pool_mode: 1, average.
        aligned: Whether pixel centers lie at half-integers.

    Raises:
        UserError: `pool_mode` is 0, max pooling, which torchvision's operator lacks.
    """
    _check_average(pool_mode)
    dtype = _compute_dtype(input, rois)
    size = (aligned_height, aligned_width)
    output.copy_(
        torchvision.ops.roi_align(
            input.to(dtype), rois.to(dtype), size, spatial_scale, sampling_ratio, aligned
        )
    )


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Compute the gradient of `roi_align_forward` with respect to the features.

    It takes the arguments of `roi_align_forward`, but `grad_output`, (K, C, aligned_height,
    aligned_width), for the gradient of the result, and `grad_input`, (N, C, H, W), which receives
    the gradient of the features.
    """
    _check_average(pool_mode)
    dtype = _compute_dtype(grad_output, rois)
    grad_output, rois = grad_output.to(dtype), rois.to(dtype)
    size = (aligned_height, aligned_width)
    # torchvision's gradient is public through autograd only. The operator is linear: its gradient
    # does not depend on the features' values.
    with torch.enable_grad():
        features = grad_output.new_zeros(grad_input.shape, requires_grad=True)
        pooled = torchvision.ops.roi_align(
            features, rois, size, spatial_scale, sampling_ratio, aligned
        )
    (grad,) = torch.autograd.grad(pooled, features, grad_output)
    grad_input.copy_(grad)


def _check_average(pool_mode: int) -> None:
    if pool_mode != 1:
        raise UserError(
            "RoIAlign with pool_mode='max' needs mmcv's compiled operators, which this mmcv "
            f"lacks: use pool_mode='avg', or {_HOW_TO_COMPILE}."
        )


def roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Take the maximum of the features over the bins of each region.

    mmcv does not round the regions to feature pixels, as torchvision does. Its bins are whole
    pixels, though, so each bin is passed to torchvision as a region of its own.

    Args:
        input: (N, C, H, W), the features.
        rois: (K, 5), index in the batch, x1, y1, x2, y2 in pixels of the image.
        output: (K, C, pooled_height, pooled_width), receives the result, 0 for an empty bin.
        argmax: int32, shaped as `output`, receives `y * W + x` of each maximum, -1 for none.
        pooled_height: Bins per region, vertically.
        pooled_width: Bins per region, horizontally.
        spatial_scale: Feature pixels per image pixel.
    """
    dtype = _compute_dtype(input, rois)
    channels, height, width = input.shape[1:]
    batch, x1, y1, x2, y2 = rois.to(dtype).unbind(1)
    left, right = _bins(x1 * spatial_scale, (x2 + 1) * spatial_scale, pooled_width, width)
    top, bottom = _bins(y1 * spatial_scale, (y2 + 1) * spatial_scale, pooled_height, height)

    bins = (len(rois), pooled_height, pooled_width)
    corners = (
        batch[:, None, None],
        left[:, None, :],
        top[:, :, None],
        right[:, None, :] - 1,
        bottom[:, :, None] - 1,
    )
    regions = torch.stack([corner.expand(bins) for corner in corners], dim=-1).view(-1, 5)
    maximum, place = torch.ops.torchvision.roi_pool(input.to(dtype), regions, 1.0, 1, 1)

    # torchvision widens a region without area to one pixel
    empty = (right <= left)[:, None, :] | (bottom <= top)[:, :, None]
    empty = empty[..., None]
    output.copy_(maximum.view(*bins, channels).masked_fill(empty, 0).permute(0, 3, 1, 2))
    argmax.copy_(place.view(*bins, channels).masked_fill(empty, -1).permute(0, 3, 1, 2))


def _bins(start: Tensor, end: Tensor, count: int, limit: int) -> tuple[Tensor, Tensor]:
    """Return the first pixel of each bin and the one after its last, both (K, count)."""
    size = (end - start)[:, None]
    step = size / count
    index = torch.arange(count, device=start.device)
    low = (index * step + start[:, None]).floor().clamp(0, limit)
    high = ((index + 1) * step + start[:, None]).ceil().clamp(0, limit)
    return low, torch.where(size > 0, high, low)


def roi_pool_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax: Tensor,
    grad_input: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Compute the gradient of `roi_pool_forward` with respect to the features.

    It takes the arguments of `roi_pool_forward`, but `grad_output`, (K, C, pooled_height,
    pooled_width), for the gradient of the result, and `grad_input`, (N, C, H, W) and contiguous,
    which receives the gradient of the features.
    """
    valid = argmax >= 0
    roi, channel, _, _ = valid.nonzero(as_tuple=True)
    places = (rois[roi, 0].long(), channel, argmax[valid].long())
    gradients = grad_output[valid].to(grad_input.dtype)
    grad_input.view(*grad_input.shape[:2], -1).index_put_(places, gradients, accumulate=True)


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Compute the focal loss of each sample and class, as mmdet's one-stage detectors do on CUDA.

    Args:
        input: (N, C), logits.
        target: (N,), int64, the class of each sample; C for none.
        weight: (C,), weights of the classes' samples, or empty for none.
        output: (N, C), receives the losses.
        gamma: Exponent that reduces the loss of well-classified samples.
        alpha: Weight of positive samples; negative samples have 1 - alpha.
    """
    output.copy_(_focal_loss(input.to(_compute_dtype(input)), target, weight, gamma, alpha))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Compute the gradient of `sigmoid_focal_loss_forward` with respect to the logits.

    It takes the arguments of `sigmoid_focal_loss_forward`, but `grad_input`, (N, C), which receives
    the gradient of each loss with respect to its logit.
    """
    with torch.enable_grad():
        logits = input.detach().to(_compute_dtype(input)).requires_grad_()
        loss = _focal_loss(logits, target, weight, gamma, alpha).sum()
    grad_input.copy_(torch.autograd.grad(loss, logits)[0])


def _focal_loss(
    logits: Tensor, target: Tensor, weight: Tensor, gamma: float, alpha: float
) -> Tensor:
    classes = logits.shape[1]
    positive = torch.nn.functional.one_hot(target, classes + 1)[:, :classes].to(logits.dtype)
    losses = torchvision.ops.sigmoid_focal_loss(logits, positive, alpha, gamma)
    if weight.numel():
        losses = losses * torch.cat([weight, weight.new_ones(1)])[target, None]
    return losses


def get_compiler_version() -> str:
    """Return what environment reports show in place of the compiler."""
    return f'mmdwnet stands in for them, on torchvision {torchvision.__version__}'


def get_compiling_cuda_version() -> str:
    """Return the CUDA version that torch and torchvision's operators were compiled with."""
    return torch.version.cuda or 'not available'


_HOW_TO_COMPILE = (
    'install an mmcv with compiled operators (a wheel built for your version of torch, or built '
    'from its sources with MMCV_WITH_OPS=1: '
    'https://mmcv.readthedocs.io/en/latest/get_started/build.html)'
)


def missing_operator(name: str) -> Callable[..., NoReturn]:
    """Return a stand-in for an operator that is missing: mmcv asks for all when it is imported."""
    if name.startswith('_'):
        raise AttributeError(f'module mmcv._ext has no attribute {name!r}')

    def operator(*args: Any, **kwargs: Any) -> NoReturn:
        raise UserError(
            f'mmcv operator {name!r} was called, but this mmcv lacks compiled operators, and '
            'mmdwnet replaces nms, softnms, roi_align, roi_pool and sigmoid_focal_loss only: '
            f'{_HOW_TO_COMPILE}.'
        )

    operator.__name__ = name
    return operator
