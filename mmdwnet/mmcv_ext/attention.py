"""Multi-scale deformable attention, and the masks of point-wise spatial attention."""

from collections.abc import Iterator
from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from .computing import compute_dtype, gradients


def ms_deform_attn_forward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int,
) -> Tensor:
    """Sum bilinear samples of several maps, weighted, for each query and head.

    It samples one map of one image at a time, so that memory for a part of the samples is enough.

    Args:
        value: (N, S, heads, channels), the positions of all maps, one map after the other.
        value_spatial_shapes: (L, 2), int64, height and width of each map.
        value_level_start_index: Not used, as the sizes tell it.
        sampling_locations: (N, Q, heads, L, P, 2), x and y from 0 to 1 of the P points in each map.
        attention_weights: (N, Q, heads, L, P), factors of the samples.
        im2col_step: Not used.

    Returns:
        (N, Q, heads * channels), of `value`'s dtype.
    """
    dtype = compute_dtype(value, sampling_locations, attention_weights)
    n, _, heads, channels = value.shape
    output = value.new_zeros(n, sampling_locations.shape[1], heads, channels, dtype=dtype)
    for image, part, level, size in _maps(value, value_spatial_shapes):
        output[image] += _attend(
            value[image, part].to(dtype),
            sampling_locations[image, :, :, level].to(dtype),
            attention_weights[image, :, :, level].to(dtype),
            size,
        )
    return output.flatten(2).to(value.dtype)


def ms_deform_attn_backward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    im2col_step: int,
) -> None:
    """Compute the gradients of `ms_deform_attn_forward` for values, locations and weights.

    It takes the arguments of `ms_deform_attn_forward`, but `grad_output`, (N, Q, heads * channels),
    for the gradient of the result, and tensors that receive the gradients.
    """
    dtype = compute_dtype(value, sampling_locations, attention_weights, grad_output)
    grad_output = grad_output.unflatten(2, value.shape[2:])
    for image, part, level, size in _maps(value, value_spatial_shapes):
        of_level = (image, slice(None), slice(None), level)
        grads = gradients(
            partial(_attend, size=size),
            [value[image, part], sampling_locations[of_level], attention_weights[of_level]],
            grad_output[image].to(dtype),
        )
        grad_value[image, part], grad_sampling_loc[of_level], grad_attn_weight[of_level] = grads


def _maps(value: Tensor, shapes: Tensor) -> Iterator[tuple[int, slice, int, tuple[int, int]]]:
    """Yield the image, the positions, the level and the size of each map of each image."""
    start = 0
    for level, (h, w) in enumerate(shapes.tolist()):
        part = slice(start, start + h * w)
        start = part.stop
        for image in range(len(value)):
            yield image, part, level, (h, w)


def _attend(value: Tensor, locations: Tensor, weights: Tensor, size: tuple[int, int]) -> Tensor:
    """Sum the samples of one map; (Q, heads, channels)."""
    maps = value.permute(1, 2, 0).unflatten(2, size)  # (heads, channels, H, W)
    grid = 2 * locations.transpose(0, 1) - 1
    samples = F.grid_sample(maps, grid, align_corners=False)  # (heads, channels, Q, P)
    return (samples * weights.transpose(0, 1).unsqueeze(1)).sum(dim=-1).permute(2, 0, 1)


def psamask_forward(
    input: Tensor,
    output: Tensor,
    psa_type: int,
    num_: int,
    h_feature: int,
    w_feature: int,
    h_mask: int,
    w_mask: int,
    half_h_mask: int,
    half_w_mask: int,
) -> None:
    """Lay each position's attention, centered on it, over the whole map.

    Args:
        input: (num_, h_mask * w_mask, h_feature, w_feature), attention of each position to those
            around it.
        output: (num_, h_feature * w_feature, h_feature, w_feature), receives the attention between
            all pairs of positions; left unchanged where a pair is too far apart.
        psa_type: 0, collect: `output` has the position itself last; 1, distribute: first.
        num_: Images.
        h_feature: Height of the map.
        w_feature: Width of the map.
        h_mask: Height of the attention.
        w_mask: Width of the attention.
        half_h_mask: Rows of the attention above its center.
        half_w_mask: Columns of the attention on the left of its center.
    """
    around, between = _psa_places(
        psa_type, h_feature, w_feature, h_mask, w_mask, half_h_mask, half_w_mask
    )
    pairs = output.unflatten(1, (h_feature, w_feature))
    pairs[between] = input.unflatten(1, (h_mask, w_mask))[around]


def psamask_backward(
    grad_output: Tensor,
    grad_input: Tensor,
    psa_type: int,
    num_: int,
    h_feature: int,
    w_feature: int,
    h_mask: int,
    w_mask: int,
    half_h_mask: int,
    half_w_mask: int,
) -> None:
    """Compute the gradient of `psamask_forward`.

    It takes the arguments of `psamask_forward`, but `grad_output`, of the shape of its result, for
    the gradient of the result, and `grad_input`, which receives the gradient of the input.
    """
    around, between = _psa_places(
        psa_type, h_feature, w_feature, h_mask, w_mask, half_h_mask, half_w_mask
    )
    window = grad_input.unflatten(1, (h_mask, w_mask))
    window[around] = grad_output.unflatten(1, (h_feature, w_feature))[between]


def _psa_places(
    psa_type: int, height: int, width: int, h_mask: int, w_mask: int, half_h: int, half_w: int
) -> tuple[tuple, tuple]:
    """Return the indices of all pairs of near positions, in the input and in the output.

    In the input, a pair has its place in the attention of a position, then that position; in the
    output, the two positions.
    """
    places = []
    for length, extent, half in ((height, h_mask, half_h), (width, w_mask, half_w)):
        position = torch.arange(length)[:, None]
        other = torch.arange(extent) + position - half
        at, place = ((other >= 0) & (other < length)).nonzero(as_tuple=True)
        places.append((at, place, other[at, place]))
    (y, i, other_y), (x, j, other_x) = places
    y, i, other_y = y[:, None], i[:, None], other_y[:, None]
    itself, others = (y, x), (other_y, other_x)
    between = (*others, *itself) if psa_type == 0 else (*itself, *others)
    return (slice(None), i, j, y, x), (slice(None), *between)
