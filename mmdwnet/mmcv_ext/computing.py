"""What the operators share: the dtype that they compute in, and gradients by autograd."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor


def compute_dtype(*tensors: Tensor) -> torch.dtype:
    """Return the smallest dtype that holds all `tensors` and that torchvision takes on the CPU."""
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype


def gradients(
    function: Callable[..., Tensor], inputs: Iterable[Tensor], grad_output: Tensor
) -> tuple[Tensor, ...]:
    """Return the gradients of `function(*inputs)`, computed in the dtype of `grad_output`.

    The gradients of torchvision's operators are public through autograd only. An input that the
    result does not depend on has a gradient of zeros.
    """
    with torch.enable_grad():
        inputs = [tensor.detach().to(grad_output.dtype).requires_grad_() for tensor in inputs]
        output = function(*inputs)
    if not output.requires_grad:
        return tuple(map(torch.zeros_like, inputs))
    return torch.autograd.grad(
        output, inputs, grad_output, allow_unused=True, materialize_grads=True
    )
