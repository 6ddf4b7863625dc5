"""Convolutions: with deformed kernels, at chosen positions, with a kernel per position (CARAFE)."""

import math
from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812
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
    size: tuple[int, ...],
) -> Tensor:
    # mmdet's DyHead gives offsets and masks of a larger map. The compiled operator then reads the
    # first numbers of each image's as if they belonged to a map of the output's size.
    offset, mask = (
        tensor.flatten(1)[:, : math.prod(tensor.shape[1:2] + size)].view(-1, tensor.shape[1], *size)
        if tensor[0, 0].numel() > math.prod(size)
        else tensor
        for tensor in (offset, mask)
    )
    return _deform_conv(
        input, offset, weight, mask, bias, geometry=geometry, names=_MODULATED_NAMES
    )


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


def masked_im2col_forward(
    features: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    data_col: Tensor,
    kernel_h: int,
    kernel_w: int,
    pad_h: int,
    pad_w: int,
) -> None:
    """Gather what a convolution needs at chosen positions.

    Args:
        features: (1, C, H, W).
        mask_h_idx: (P,), int64, rows of the positions.
        mask_w_idx: (P,), int64, columns of the positions.
        data_col: (C * kernel_h * kernel_w, P), receives the features under the kernel.
        kernel_h: Height of the kernel.
        kernel_w: Width of the kernel.
        pad_h: Zeros above the features.
        pad_w: Zeros on the left of the features.
    """
    padded = F.pad(features[0], (pad_w, kernel_w - 1, pad_h, kernel_h - 1))
    rows = mask_h_idx[:, None] + torch.arange(kernel_h, device=features.device)
    columns = mask_w_idx[:, None] + torch.arange(kernel_w, device=features.device)
    patches = padded[:, rows[:, :, None], columns[:, None, :]]  # (C, P, kernel_h, kernel_w)
    data_col.copy_(patches.permute(0, 2, 3, 1).reshape(data_col.shape))


def masked_col2im_forward(
    col: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    im: Tensor,
    height: int,
    width: int,
    channels: int,
) -> None:
    """Write results to chosen positions.

    Args:
        col: (channels, P), the results.
        mask_h_idx: (P,), int64, rows of the positions.
        mask_w_idx: (P,), int64, columns of the positions.
        im: (1, channels, height, width), receives the results; left unchanged elsewhere.
        height: Height of `im`.
        width: Width of `im`.
        channels: Channels of `im`.
    """
    im[0][:, mask_h_idx, mask_w_idx] = col.to(im.dtype)


def carafe_forward(
    features: Tensor,
    masks: Tensor,
    rfeatures: Tensor,
    routput: Tensor,
    rmasks: Tensor,
    output: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Upsample features, each pixel with a kernel of its own on the features around it.

    Args:
        features: (N, C, H, W).
        masks: (N, group_size * kernel_size^2, scale_factor * H, scale_factor * W), the kernels.
        rfeatures: (N, C, H, W), receives the features for the backward pass.
        routput: Memory for the compiled operator; left unchanged.
        rmasks: Memory for the compiled operator; left unchanged.
        output: (N, C, scale_factor * H, scale_factor * W), receives the result.
        kernel_size: Side of the kernels, odd.
        group_size: Groups of channels; those of a group share kernels.
        scale_factor: Pixels of the output per pixel of the features, along each side.
    """
    rfeatures.copy_(features)
    carafe_naive_forward(features, masks, output, kernel_size, group_size, scale_factor)


def carafe_backward(
    grad_output: Tensor,
    rfeatures: Tensor,
    masks: Tensor,
    rgrad_output: Tensor,
    rgrad_input_hs: Tensor,
    rgrad_input: Tensor,
    rgrad_masks: Tensor,
    grad_input: Tensor,
    grad_masks: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Compute the gradients of `carafe_forward` for the features and the masks.

    It takes the arguments of `carafe_forward`, but `grad_output`, of the shape of its result, for
    the gradient of the result, `grad_input` and `grad_masks`, which receive the gradients, and
    other memory for the compiled operator.
    """
    carafe_naive_backward(
        grad_output,
        rfeatures,
        masks,
        grad_input,
        grad_masks,
        kernel_size,
        group_size,
        scale_factor,
    )


def carafe_naive_forward(
    features: Tensor,
    masks: Tensor,
    output: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Compute `carafe_forward`, without memory for the backward pass."""
    dtype = torch.promote_types(features.dtype, masks.dtype)
    tensors = (features.to(dtype), masks.to(dtype))
    output.copy_(_reassemble(*tensors, kernel_size, group_size, scale_factor))


def carafe_naive_backward(
    grad_output: Tensor,
    features: Tensor,
    masks: Tensor,
    grad_input: Tensor,
    grad_masks: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Compute `carafe_backward` from the features themselves."""
    dtype = torch.promote_types(features.dtype, masks.dtype)
    grads = gradients(
        lambda features, masks: _reassemble(features, masks, kernel_size, group_size, scale_factor),
        [features, masks],
        grad_output.to(torch.promote_types(grad_output.dtype, dtype)),
    )
    grad_input.copy_(grads[0])
    grad_masks.copy_(grads[1])


def _reassemble(features: Tensor, masks: Tensor, size: int, groups: int, scale: int) -> Tensor:
    """Upsample by inhomogeneous products on the small map, one for each pixel of the large one."""
    from mmdwnet.ops import inhomogeneous_depthwise_conv2d  # takes time, and few need it

    n, c, h, w = features.shape
    kernels = masks.reshape(n, groups, size, size, h, scale, w, scale)
    kernels = kernels.permute(5, 7, 0, 1, 2, 3, 4, 6).flatten(0, 2)
    if size == 1:
        kernels = F.pad(kernels, (0, 0, 0, 0, 1, 1, 1, 1))  # the smallest that the product takes
    with torch.autocast(features.device.type, enabled=False):  # the dtypes are chosen already
        pixels = inhomogeneous_depthwise_conv2d(features.repeat(scale**2, 1, 1, 1), kernels)
    pixels = pixels.view(scale, scale, n, c, h, w).permute(2, 3, 4, 0, 5, 1)
    return pixels.reshape(n, c, h * scale, w * scale)
