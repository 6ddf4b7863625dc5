"""CARAFE: upsampling with a kernel for each pixel."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from .computing import gradients


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
