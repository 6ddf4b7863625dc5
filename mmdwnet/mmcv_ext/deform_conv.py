"""Deformable convolution, with and without masks."""

from functools import partial

import torch
import torchvision
from torch import Tensor

from mmdwnet.errors import UserError

from .computing import compute_dtype, gradients

# What the two operators call stride, padding and dilation, by height and width, and the groups.
_GROUPS = ('group', 'deformable_group')
_NAMES = (('dH', 'dW'), ('padH', 'padW'), ('dilationH', 'dilationW'), _GROUPS)
_MODULATED_NAMES = (
    ('stride_h', 'stride_w'),
    ('pad_h', 'pad_w'),
    ('dilation_h', 'dilation_w'),
    _GROUPS,
)


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    **geometry: int,
) -> None:
    """Convolve with kernels whose taps are moved by offsets.

    Args:
        input: (N, C, H, W).
        weight: (D, C / groups, kernel height, kernel width).
        offset: (N, 2 * deformable groups * taps, H', W'), by how much each tap moves in y and x.
        output: (N, D, H', W'), receives the result.
        columns: Memory for the compiled operator; left unchanged.
        ones: Memory for the compiled operator; left unchanged.
        geometry: `kW`, `kH`, `dW`, `dH` (stride), `padW`, `padH`, `dilationW`, `dilationH`,
            `group`, `deformable_group` and `im2col_step`, which is not used.

    Raises:
        UserError: The groups do not fit the shapes.
    """
    dtype = compute_dtype(input, weight, offset)
    tensors = (input.to(dtype), offset.to(dtype), weight.to(dtype))
    output.copy_(_deform_conv(*tensors, geometry=geometry, names=_NAMES))


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    weight: Tensor,
    columns: Tensor,
    **geometry: int,
) -> None:
    """Compute the gradients of `deform_conv_forward` for the input and the offsets.

    It takes the arguments of `deform_conv_forward`, but `grad_output`, (N, D, H', W'), for the
    gradient of the result, and `grad_input` and `grad_offset`, which receive the gradients.
    """
    grads = _deform_conv_grads(input, offset, weight, grad_output, geometry)
    grad_input.copy_(grads[0])
    grad_offset.copy_(grads[1])


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_weight: Tensor,
    columns: Tensor,
    ones: Tensor,
    **geometry: int,
) -> None:
    """Compute the gradient of `deform_conv_forward` for the weight.

    It takes the arguments of `deform_conv_forward`, but `grad_output`, (N, D, H', W'), for the
    gradient of the result, `grad_weight`, which receives the gradient, and `scale`, its factor.
    """
    # The operator is linear in the weight: the gradient does not depend on its values.
    weight = torch.zeros_like(grad_weight)
    grads = _deform_conv_grads(input, offset, weight, grad_output, geometry)
    grad_weight.copy_(grads[2] * geometry['scale'])


def _deform_conv_grads(
    input: Tensor, offset: Tensor, weight: Tensor, grad_output: Tensor, geometry: dict[str, int]
) -> tuple[Tensor, ...]:
    return gradients(
        partial(_deform_conv, geometry=geometry, names=_NAMES),
        [input, offset, weight],
        grad_output.to(compute_dtype(input, offset, weight, grad_output)),
    )


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    **geometry: int,
) -> None:
    """Convolve with kernels whose taps are moved by offsets and multiplied by masks.

    Args:
        input: (N, C, H, W).
        weight: (D, C / groups, kernel height, kernel width).
        bias: (D,), added if `with_bias`.
        ones: Memory for the compiled operator; left unchanged.
        offset: (N, 2 * deformable groups * taps, H', W'), by how much each tap moves in y and x.
        mask: (N, deformable groups * taps, H', W'), factors of the taps.
        output: (N, D, H', W'), receives the result.
        columns: Memory for the compiled operator; left unchanged.
        geometry: `kernel_h`, `kernel_w`, `stride_h`, `stride_w`, `pad_h`, `pad_w`, `dilation_h`,
            `dilation_w`, `group`, `deformable_group` and `with_bias`.

    Raises:
        UserError: The groups do not fit the shapes.
    """
    dtype = compute_dtype(input, weight, offset, mask)
    tensors = (input.to(dtype), offset.to(dtype), weight.to(dtype), mask.to(dtype))
    added = bias.to(dtype) if geometry['with_bias'] else None
    output.copy_(_modulated_deform_conv(*tensors, added, geometry, output.shape[2:]))


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    **geometry: int,
) -> None:
    """Compute the gradients of `modulated_deform_conv_forward` for all of its inputs.

    It takes the arguments of `modulated_deform_conv_forward`, but `grad_output`, (N, D, H', W'),
    for the gradient of the result, and tensors that receive the gradients.
    """
    grad_output = grad_output.to(compute_dtype(input, weight, offset, mask, grad_output))
    grads = gradients(
        partial(_modulated_deform_conv, bias=None, geometry=geometry, size=grad_output.shape[2:]),
        [input, offset, weight, mask],
        grad_output,
    )
    targets = (grad_input, grad_offset, grad_weight, grad_mask)
    for target, grad in zip(targets, grads, strict=True):
        target.copy_(grad)
    if geometry['with_bias']:
        grad_bias.copy_(grad_output.sum(dim=(0, 2, 3)))


def _modulated_deform_conv(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    mask: Tensor,
    bias: Tensor | None,
    geometry: dict[str, int],
    size: torch.Size,
) -> Tensor:
    offset, mask = _of_size(offset, size), _of_size(mask, size)
    return _deform_conv(
        input, offset, weight, mask, bias, geometry=geometry, names=_MODULATED_NAMES
    )


def _of_size(tensor: Tensor, size: torch.Size) -> Tensor:
    """Read offsets or masks as the compiled operator does, if they are those of a larger map.

    It takes the first numbers of each image's as those of a map of the output's size, and mmdet's
    DyHead has learned with that.
    """
    if tensor.shape[2:].numel() <= size.numel():
        return tensor
    channels = tensor.shape[1]
    return tensor.flatten(1)[:, : channels * size.numel()].unflatten(1, (channels, *size))


def _deform_conv(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    mask: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    geometry: dict[str, int],
    names: tuple[tuple[str, str], ...],
) -> Tensor:
    stride, padding, dilation, groups = ((geometry[a], geometry[b]) for a, b in names)
    # torchvision derives the groups from the shapes.
    given = (input.shape[1], offset.shape[1])
    channels, taps = weight.shape[1], weight[0, 0].numel()
    expected = (groups[0] * channels, 2 * groups[1] * taps)
    if given != expected:
        raise UserError(
            f'deformable convolution got {given[0]} input and {given[1]} offset channels, but '
            f'{groups[0]} groups of {channels} channels and {groups[1]} deformable groups of '
            f'{taps} taps need {expected[0]} and {expected[1]}: change the groups or the channels'
        )
    # The value has a kink exactly one pixel outside, and mmcv takes zero as its derivative there.
    # Farther out, it is zero, too.
    outside = -1 - _places(weight.shape[2:], offset, stride, padding, dilation)
    offset = torch.where(offset == outside, outside - 1, offset)
    return torchvision.ops.deform_conv2d(
        input, offset, weight, bias, stride, padding, dilation, mask
    )


def _places(
    kernel: tuple[int, ...],
    offset: Tensor,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
) -> Tensor:
    """Return y and x of each tap without offsets, of `offset`'s shape but without images."""
    axes = [
        torch.arange(taps, device=offset.device)[:, None] * d
        + torch.arange(length, device=offset.device) * s
        - p
        for taps, length, s, p, d in zip(
            kernel, offset.shape[2:], stride, padding, dilation, strict=True
        )
    ]
    y, x = axes[0][:, None, :, None], axes[1][None, :, None, :]  # taps by taps by H' by W'
    places = torch.stack(torch.broadcast_tensors(y, x), dim=2).flatten(0, 2).to(offset.dtype)
    return places.repeat(len(offset[0]) // len(places), 1, 1)
