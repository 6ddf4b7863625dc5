"""The focal loss of one-stage detectors."""

import torch
import torchvision
from torch import Tensor

from .computing import compute_dtype, gradients


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
    output.copy_(_focal_loss(input.to(compute_dtype(input)), target, weight, gamma, alpha))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Compute the gradient of `sigmoid_focal_loss_forward` with respect to the logits.

    It takes the arguments of `sigmoid_focal_loss_forward`, but `grad_input`, (N, C), which receives
    the gradient of each loss with respect to its logit.
    """
    (grad,) = gradients(
        lambda logits: _focal_loss(logits, target, weight, gamma, alpha),
        [input],
        torch.ones_like(input, dtype=compute_dtype(input)),
    )
    grad_input.copy_(grad)


def _focal_loss(
    logits: Tensor, target: Tensor, weight: Tensor, gamma: float, alpha: float
) -> Tensor:
    classes = logits.shape[1]
    positive = torch.nn.functional.one_hot(target, classes + 1)[:, :classes].to(logits.dtype)
    losses = torchvision.ops.sigmoid_focal_loss(logits, positive, alpha, gamma)
    if weight.numel():
        losses = losses * torch.cat([weight, weight.new_ones(1)])[target, None]
    return losses
