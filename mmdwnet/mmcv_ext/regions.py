"""Pooling of regions: RoIAlign, RoIPool and their deformable kin."""

import torch
import torchvision
from torch import Tensor

from mmdwnet.errors import UserError

from .computing import compute_dtype, gradients
from .missing import HOW_TO_COMPILE


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
    dtype = compute_dtype(input, rois)
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
    dtype = compute_dtype(grad_output, rois)
    grad_output, rois = grad_output.to(dtype), rois.to(dtype)
    size = (aligned_height, aligned_width)
    # The operator is linear: its gradient does not depend on the features' values.
    (grad,) = gradients(
        lambda features: torchvision.ops.roi_align(
            features, rois, size, spatial_scale, sampling_ratio, aligned
        ),
        [grad_output.new_zeros(grad_input.shape)],
        grad_output,
    )
    grad_input.copy_(grad)


def _check_average(pool_mode: int) -> None:
    if pool_mode != 1:
        raise UserError(
            "RoIAlign with pool_mode='max' needs mmcv's compiled operators, which this mmcv "
            f"lacks: use pool_mode='avg', or {HOW_TO_COMPILE}."
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
    dtype = compute_dtype(input, rois)
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


def deform_roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    offset: Tensor,
    output: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    gamma: float,
) -> None:
    """Average bilinear samples of the features over the bins of each region, moved by offsets.

    Without offsets, it is `roi_align_forward` with `aligned`.

    Args:
        input: (N, C, H, W), the features.
        rois: (K, 5), index in the batch, x1, y1, x2, y2 in pixels of the image.
        offset: (K, 2, pooled_height, pooled_width), by how much each bin moves in x and y, in parts
            of `gamma` times the region's size; or empty for none.
        output: (K, C, pooled_height, pooled_width), receives the result.
        pooled_height: Bins per region, vertically.
        pooled_width: Bins per region, horizontally.
        spatial_scale: Feature pixels per image pixel.
        sampling_ratio: Samples per bin and direction; 0 for one per feature pixel.
        gamma: Scale of the offsets.
    """
    dtype = compute_dtype(input, rois, offset)
    output.copy_(
        _deform_roi_pool(
            input.to(dtype),
            offset.to(dtype),
            rois.to(dtype),
            (pooled_height, pooled_width),
            spatial_scale,
            sampling_ratio,
            gamma,
        )
    )


def deform_roi_pool_backward(
    grad_output: Tensor,
    input: Tensor,
    rois: Tensor,
    offset: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    gamma: float,
) -> None:
    """Compute the gradients of `deform_roi_pool_forward` for the features and the offsets.

    It takes the arguments of `deform_roi_pool_forward`, but `grad_output`, (K, C, pooled_height,
    pooled_width), for the gradient of the result, and `grad_input` and `grad_offset`, which receive
    the gradients of the features and of the offsets.
    """
    dtype = compute_dtype(grad_output, input, rois, offset)
    grads = gradients(
        lambda features, offset: _deform_roi_pool(
            features,
            offset,
            rois.to(dtype),
            (pooled_height, pooled_width),
            spatial_scale,
            sampling_ratio,
            gamma,
        ),
        [input, offset],
        grad_output.to(dtype),
    )
    grad_input.copy_(grads[0])
    grad_offset.copy_(grads[1])


def _deform_roi_pool(
    features: Tensor,
    offset: Tensor,
    rois: Tensor,
    size: tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int,
    gamma: float,
) -> Tensor:
    start, end = (rois[:, 1:] * spatial_scale - 0.5).view(-1, 2, 2).unbind(1)  # (K, 2) of x, y
    extent = end - start
    bins = extent / extent.new_tensor(size[::-1])
    corners = start[:, None, None] + _grid(size, start) * bins[:, None, None]
    if offset.numel():
        corners = corners + gamma * extent[:, None, None] * offset.permute(0, 2, 3, 1)

    # Regions of one image with the same number of samples are pooled together.
    samples = torch.full_like(bins, sampling_ratio) if sampling_ratio > 0 else bins.ceil()
    kinds = torch.cat([rois[:, :1], samples], dim=1)
    output = features.new_zeros(len(rois), features.shape[1], *size)
    for kind in kinds.unique(dim=0):
        image, columns, rows = kind.long().tolist()
        if columns <= 0 or rows <= 0:
            continue  # a malformed region
        members = (kinds == kind).all(dim=1).nonzero()[:, 0]
        steps = (_grid((rows, columns), start) + 0.5) / start.new_tensor([columns, rows])
        points = corners[members, :, :, None, None] + steps * bins[members, None, None, None, None]
        values = _bilinear(features[image], points.view(-1, rows * columns, 2)).mean(dim=-1)
        values = values.view(-1, len(members), *size).transpose(0, 1)
        output = output.index_copy(0, members, values)
    return output


def _grid(size: tuple[int, int], like: Tensor) -> Tensor:
    """Return the indices x, y of the cells of a grid, (height, width, 2)."""
    y, x = (torch.arange(length, dtype=like.dtype, device=like.device) for length in size)
    return torch.stack(torch.meshgrid(x, y, indexing='xy'), dim=-1)


def _bilinear(plane: Tensor, points: Tensor) -> Tensor:
    """Interpolate (C, H, W) at points x, y, (..., 2); zero from one pixel outside on."""
    size = points.new_tensor(plane.shape[:0:-1])
    inside = ((points >= -1) & (points <= size)).all(dim=-1)
    grid = (2 * points + 1) / size - 1
    values = torch.nn.functional.grid_sample(
        plane[None], grid[None], padding_mode='border', align_corners=False
    )
    return values[0] * inside
