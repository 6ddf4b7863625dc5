"""The operators as torch knows them: shapes for tracing, gradients, FLOPs.

Each product, and each gradient that is not a product itself, is one operator, so that
`torch.compile` and `torch.export` see one node. All are linear in each of their tensors, so they
are each other's derivatives, of any order:

    out = product(x, weight)
    input_grad(grad, weight) is the gradient for x, weight_grad(grad, x) the one for weight

The homogeneous product's input gradient is the product with flipped kernels.
"""

import sys
import warnings
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from . import cpu
from .layout import memory_format

OPERATORS = ('cpu', 'triton')  # the backends of what is registered here
AUTOMATIC = 'auto'  # Triton, or torch for what Triton cannot compile or launch

_failed: set[tuple[str, torch.device, torch.dtype]] = set()


def _compute(backend: str, function: str, *arguments: Any) -> Tensor:
    """Call a function of a backend, without autocast."""
    tensor = arguments[0]
    key = function, tensor.device, tensor.dtype
    with torch.autocast(tensor.device.type, enabled=False):
        if backend == 'cpu' or (backend == AUTOMATIC and key in _failed):
            return getattr(cpu, function)(*arguments)
        try:
            from . import cuda  # only now, as Triton is not needed elsewhere

            return getattr(cuda, function)(*arguments)
        except Exception as error:
            if backend != AUTOMATIC or 'out of memory' in str(error):
                raise
            if tensor.is_cuda:
                torch.cuda.synchronize(tensor.device)  # raises the error of an earlier kernel
            if not any(device == tensor.device for _, device, _ in _failed):
                warnings.warn(_told(function, tensor, error), stacklevel=2)
            _failed.add(key)
        return getattr(cpu, function)(*arguments)


def _told(function: str, tensor: Tensor, error: Exception) -> str:
    device = torch.cuda.get_device_name(tensor.device) if tensor.is_cuda else tensor.device
    version = getattr(sys.modules.get('triton'), '__version__', '(which cannot be imported)')
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return (
        f'Triton {version} cannot run {function} in {tensor.dtype} on {device}: {reason}. The '
        'slower functions of torch are used instead, here and wherever Triton fails. Pass '
        "backend='torch' to avoid this message, or backend='triton' to get the error"
    )


@torch.library.custom_op('mmdwnet::depthwise_conv2d', mutates_args=())
def homogeneous(x: Tensor, weight: Tensor, bias: Tensor | None, relu: bool, backend: str) -> Tensor:
    """Filter (N, C, H, W) with (N, C, k, k), or with (1, C, k, k) for all images; add (C,)."""
    out = _compute(backend, 'depthwise_conv2d', x, weight, bias, relu)
    return out.contiguous(memory_format=memory_format(x))


@torch.library.custom_op('mmdwnet::depthwise_conv2d_weight_grad', mutates_args=())
def homogeneous_weight_grad(
    grad: Tensor, x: Tensor, kernel_size: int, shared: bool, backend: str
) -> Tensor:
    """Return the gradient for the kernels, summed over images if they are `shared`."""
    out = _compute(backend, 'depthwise_conv2d_weight_grad', grad, x, kernel_size, shared)
    return out.contiguous()


@torch.library.custom_op('mmdwnet::inhomogeneous_depthwise_conv2d', mutates_args=())
def inhomogeneous(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    scale: Tensor | None,
    relu: bool,
    backend: str,
) -> Tensor:
    """Filter (N, C, H, W) with (N, G, k, k, H, W); multiply by (C,), add (C,)."""
    out = _compute(backend, 'inhomogeneous_depthwise_conv2d', x, weight, bias, scale, relu)
    return out.contiguous(memory_format=memory_format(x))


@torch.library.custom_op('mmdwnet::inhomogeneous_depthwise_conv2d_input_grad', mutates_args=())
def inhomogeneous_input_grad(grad: Tensor, weight: Tensor, backend: str) -> Tensor:
    """Return the gradient for the input, in `grad`'s memory format."""
    out = _compute(backend, 'inhomogeneous_depthwise_conv2d_input_grad', grad, weight)
    return out.contiguous(memory_format=memory_format(grad))


@torch.library.custom_op('mmdwnet::inhomogeneous_depthwise_conv2d_weight_grad', mutates_args=())
def inhomogeneous_weight_grad(grad: Tensor, x: Tensor, weight: Tensor, backend: str) -> Tensor:
    """Return the gradient for the kernels, in the shape and layout of `weight`."""
    return _compute(backend, 'inhomogeneous_depthwise_conv2d_weight_grad', grad, x, weight)


# Shapes, dtypes and layouts ------------------------------------------------------------------


@homogeneous.register_fake
@inhomogeneous.register_fake
@inhomogeneous_input_grad.register_fake
def _like_input(x: Tensor, *_) -> Tensor:
    return torch.empty_like(x, memory_format=memory_format(x))


@homogeneous_weight_grad.register_fake
def _kernels(grad: Tensor, x: Tensor, kernel_size: int, shared: bool, backend: str) -> Tensor:
    n, c = x.shape[:2]
    return x.new_empty(1 if shared else n, c, kernel_size, kernel_size)


@inhomogeneous_weight_grad.register_fake
def _like_weight(grad: Tensor, x: Tensor, weight: Tensor, backend: str) -> Tensor:
    return torch.empty_like(weight)


# Gradients -----------------------------------------------------------------------------------


def _homogeneous_saved(ctx, inputs, output) -> None:
    x, weight, bias, relu, ctx.backend = inputs
    assert not relu  # a fused ReLU is for inference
    ctx.with_bias = bias is not None
    ctx.save_for_backward(x, weight)


def _homogeneous_backward(ctx, grad: Tensor):
    x, weight = ctx.saved_tensors
    needs_x, needs_weight, needs_bias = ctx.needs_input_grad[:3]
    return (
        homogeneous(grad, weight.flip(2, 3), None, False, ctx.backend) if needs_x else None,
        homogeneous_weight_grad(grad, x, weight.shape[-1], weight.shape[0] == 1, ctx.backend)
        if needs_weight
        else None,
        grad.sum((0, 2, 3)) if ctx.with_bias and needs_bias else None,
        None,
        None,
    )


def _homogeneous_weight_grad_saved(ctx, inputs, output) -> None:
    grad, x, *_, ctx.backend = inputs
    ctx.save_for_backward(grad, x)


def _homogeneous_weight_grad_backward(ctx, weight: Tensor):
    grad, x = ctx.saved_tensors
    needs_grad, needs_x = ctx.needs_input_grad[:2]
    return (
        homogeneous(x, weight, None, False, ctx.backend) if needs_grad else None,
        homogeneous(grad, weight.flip(2, 3), None, False, ctx.backend) if needs_x else None,
        None,
        None,
        None,
    )


def _inhomogeneous_saved(ctx, inputs, output) -> None:
    x, weight, bias, scale, relu, ctx.backend = inputs
    assert scale is None and not relu  # fused, they are for inference
    ctx.with_bias = bias is not None
    ctx.save_for_backward(x, weight)


def _inhomogeneous_backward(ctx, grad: Tensor):
    x, weight = ctx.saved_tensors
    needs_x, needs_weight, needs_bias = ctx.needs_input_grad[:3]
    return (
        inhomogeneous_input_grad(grad, weight, ctx.backend) if needs_x else None,
        inhomogeneous_weight_grad(grad, x, weight, ctx.backend) if needs_weight else None,
        grad.sum((0, 2, 3)) if ctx.with_bias and needs_bias else None,
        None,
        None,
        None,
    )


def _inhomogeneous_input_grad_saved(ctx, inputs, output) -> None:
    grad, weight, ctx.backend = inputs
    ctx.save_for_backward(grad, weight)


def _inhomogeneous_input_grad_backward(ctx, x: Tensor):
    grad, weight = ctx.saved_tensors
    needs_grad, needs_weight = ctx.needs_input_grad[:2]
    return (
        inhomogeneous(x, weight, None, None, False, ctx.backend) if needs_grad else None,
        inhomogeneous_weight_grad(grad, x, weight, ctx.backend) if needs_weight else None,
        None,
    )


def _inhomogeneous_weight_grad_saved(ctx, inputs, output) -> None:
    grad, x, _, ctx.backend = inputs
    ctx.save_for_backward(grad, x)


def _inhomogeneous_weight_grad_backward(ctx, weight: Tensor):
    grad, x = ctx.saved_tensors
    needs_grad, needs_x = ctx.needs_input_grad[:2]
    return (
        inhomogeneous(x, weight, None, None, False, ctx.backend) if needs_grad else None,
        inhomogeneous_input_grad(grad, weight, ctx.backend) if needs_x else None,
        None,
        None,
    )


homogeneous.register_autograd(_homogeneous_backward, setup_context=_homogeneous_saved)
homogeneous_weight_grad.register_autograd(
    _homogeneous_weight_grad_backward, setup_context=_homogeneous_weight_grad_saved
)
inhomogeneous.register_autograd(_inhomogeneous_backward, setup_context=_inhomogeneous_saved)
inhomogeneous_input_grad.register_autograd(
    _inhomogeneous_input_grad_backward, setup_context=_inhomogeneous_input_grad_saved
)
inhomogeneous_weight_grad.register_autograd(
    _inhomogeneous_weight_grad_backward, setup_context=_inhomogeneous_weight_grad_saved
)


# FLOPs, as torch counts them: 2 for each multiplication with its addition ---------------------


@register_flop_formula([torch.ops.mmdwnet.depthwise_conv2d])
def _homogeneous_flops(x_shape, weight_shape, *_, **__) -> int:
    return _flops(x_shape, weight_shape[-1])


@register_flop_formula([torch.ops.mmdwnet.depthwise_conv2d_weight_grad])
def _homogeneous_weight_grad_flops(grad_shape, x_shape, kernel_size, *_, **__) -> int:
    return _flops(x_shape, kernel_size)


@register_flop_formula(
    [
        torch.ops.mmdwnet.inhomogeneous_depthwise_conv2d,
        torch.ops.mmdwnet.inhomogeneous_depthwise_conv2d_input_grad,
    ]
)
def _inhomogeneous_flops(x_shape, weight_shape, *_, **__) -> int:
    return _flops(x_shape, weight_shape[2])


@register_flop_formula([torch.ops.mmdwnet.inhomogeneous_depthwise_conv2d_weight_grad])
def _inhomogeneous_weight_grad_flops(grad_shape, x_shape, weight_shape, *_, **__) -> int:
    return _flops(x_shape, weight_shape[2])


def _flops(x_shape: torch.Size, kernel_size: int) -> int:
    n, c, h, w = x_shape
    return 2 * n * c * h * w * kernel_size**2
