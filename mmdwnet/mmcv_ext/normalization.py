"""The parts of mmcv's synchronized batch normalization between its communication."""

import torch
from torch import Tensor


def sync_bn_forward_mean(input: Tensor, mean: Tensor) -> None:
    """Compute the mean of each channel of this process.

    Args:
        input: (N, C, L), neither N nor L zero.
        mean: (C,), receives the means.
    """
    mean.copy_(input.to(mean.dtype).mean(dim=(0, 2)))


def sync_bn_forward_var(input: Tensor, mean: Tensor, var: Tensor) -> None:
    """Compute the variance of each channel of this process, around the mean of all processes.

    Args:
        input: (N, C, L), neither N nor L zero.
        mean: (C,), the means of all processes.
        var: (C,), receives the variances.
    """
    var.copy_((input - mean[:, None]).square().mean(dim=(0, 2)))


def sync_bn_forward_output(
    input: Tensor,
    mean: Tensor,
    var: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    norm: Tensor,
    std: Tensor,
    output: Tensor,
    eps: float,
    momentum: float | Tensor,
    group_size: int,
) -> None:
    """Normalize with statistics of all processes, and update the running ones.

    Args:
        input: (N, C, L).
        mean: (C,), the means.
        var: (C,), the variances.
        weight: (C,), factors of the result, or None for 1.
        bias: (C,), added to the result, if there is a weight.
        running_mean: (C,), is moved toward the means, or None.
        running_var: (C,), is moved toward the unbiased variances, or None.
        norm: (N, C, L), receives the normalized input.
        std: (C,), receives the standard deviations.
        output: (N, C, L), receives the result.
        eps: Added to the variances.
        momentum: How far the running statistics move, from 0 to 1.
        group_size: Number of processes.
    """
    std.copy_((var + eps).sqrt())
    norm.copy_((input - mean[:, None]) / std[:, None])
    if weight is None or bias is None:
        output.copy_(norm)
    else:
        output.copy_(norm * weight[:, None] + bias[:, None])
    if running_mean is not None and running_var is not None:
        count = len(input) * input.shape[2] * group_size
        unbiased = var * count / (count - 1) if count > 1 else var
        running_mean.lerp_(mean, torch.as_tensor(momentum).to(mean))
        running_var.lerp_(unbiased, torch.as_tensor(momentum).to(var))


def sync_bn_backward_param(
    grad_output: Tensor, norm: Tensor, grad_weight: Tensor, grad_bias: Tensor
) -> None:
    """Compute the gradients of weight and bias of this process.

    Args:
        grad_output: (N, C, L), the gradient of the result.
        norm: (N, C, L), the normalized input.
        grad_weight: (C,), receives the gradient of the weight.
        grad_bias: (C,), receives the gradient of the bias.
    """
    grad_output = grad_output.to(norm.dtype)
    grad_weight.copy_((grad_output * norm).sum(dim=(0, 2)))
    grad_bias.copy_(grad_output.sum(dim=(0, 2)))


def sync_bn_backward_data(
    grad_output: Tensor,
    weight: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    norm: Tensor,
    std: Tensor,
    grad_input: Tensor,
) -> None:
    """Compute the gradient of the input.

    Args:
        grad_output: (N, C, L), the gradient of the result.
        weight: (C,), factors of the result.
        grad_weight: (C,), the gradient of the weight, the mean of all processes.
        grad_bias: (C,), the gradient of the bias, the mean of all processes.
        norm: (N, C, L), the normalized input.
        std: (C,), the standard deviations.
        grad_input: (N, C, L), receives the gradient of the input.
    """
    count = len(norm) * norm.shape[2]
    common = (grad_weight[:, None] * norm + grad_bias[:, None]) / count
    grad_input.copy_((weight / std)[:, None] * (grad_output - common))
