"""The three depth-wise products: one contract, with the backend chosen by device and dtype.

All compute `relu(scale * product(x, weight) + bias)`, where all but the product is optional, with
stride 1 and zero padding to the "same" size, as a cross-correlation like
`torch.nn.functional.conv2d`. They are differentiable to any order, deterministic, accept empty
batches and maps smaller than the kernel, and accumulate float16 and bfloat16 in float32. Under
autocast they compute in its dtype, as convolutions do. The result has the dtype and memory format
of `x`; channels-last is faster. Forward-mode differentiation and torch.func use plain torch
functions.
"""

import importlib.util
import os

import torch
from torch import Tensor
from torch.autograd import forward_ad

from mmdwnet.errors import UserError

from . import library, plain

MIN_KERNEL, MAX_KERNEL = 3, 31
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
BACKENDS = ('torch', *library.OPERATORS)

# Asked once, as a compiled function cannot ask.
HAS_ONEDNN = torch.backends.mkldnn.is_available()
_HAS_TRITON = importlib.util.find_spec('triton') is not None
# Whether Triton runs kernels as Python, on tensors of any device.
_INTERPRETED = os.environ.get('TRITON_INTERPRET') == '1'


def depthwise_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    scale: Tensor | None = None,
    relu: bool = False,
    backend: str | None = None,
) -> Tensor:
    """Filter each channel with its own kernel, the same for all images.

    Args:
        x: Input, (N, C, H, W), floating point, in any memory format.
        weight: Kernels, (C, k, k) with odd k from 3 to 31, of `x`'s dtype.
        bias: Added to each channel, (C,).
        scale: Factor for each channel, (C,), applied before `bias`.
        relu: Whether to clip the result at 0.
        backend: 'torch' (plain torch functions), 'cpu' or 'triton' (CUDA). Defaults to the
            fastest one for `x`'s device and dtype. Where Triton was not given by name and fails,
            there is a warning, and torch computes the same.

    Returns:
        (N, C, H, W), of `x`'s dtype and memory format.

    Raises:
        UserError: If shapes, dtypes or devices do not match, or the backend cannot compute it.
    """
    x, weight, bias, scale = _autocast(x, weight, bias, scale)
    _check_input(x)
    _check('weight', weight, x, f'({x.shape[1]}, k, k)', (x.shape[1], *_square(weight)))
    return _homogeneous(x, weight.unsqueeze(0), bias, scale, relu, backend)


def dynamic_depthwise_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    scale: Tensor | None = None,
    relu: bool = False,
    backend: str | None = None,
) -> Tensor:
    """Filter each channel of each image with its own kernel.

    Args:
        x: As for `depthwise_conv2d`.
        weight: Kernels, (N, C, k, k) with odd k from 3 to 31, of `x`'s dtype.
        bias: As for `depthwise_conv2d`, the same for all images.
        scale: As for `depthwise_conv2d`, the same for all images.
        relu: As for `depthwise_conv2d`.
        backend: As for `depthwise_conv2d`.

    Returns:
        (N, C, H, W), of `x`'s dtype and memory format.

    Raises:
        UserError: As for `depthwise_conv2d`.

    Source: Han et al., ICLR 2022, section 3.2, homogeneous dynamic depth-wise convolution.
    """
    x, weight, bias, scale = _autocast(x, weight, bias, scale)
    _check_input(x)
    n, c = x.shape[:2]
    _check('weight', weight, x, f'({n}, {c}, k, k)', (n, c, *_square(weight)))
    return _homogeneous(x, weight, bias, scale, relu, backend)


def inhomogeneous_depthwise_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    scale: Tensor | None = None,
    relu: bool = False,
    backend: str | None = None,
) -> Tensor:
    """Filter each position with its own kernel, shared by a group of channels.

    Args:
        x: As for `depthwise_conv2d`.
        weight: Kernels, (N, G, k, k, H, W) with odd k from 3 to 31 and C divisible by G, of `x`'s
            dtype; channel c uses group c // (C / G). Any memory layout; the fastest has the
            positions innermost on the CPU, the groups on CUDA.
        bias: As for `depthwise_conv2d`.
        scale: As for `depthwise_conv2d`.
        relu: As for `depthwise_conv2d`.
        backend: As for `depthwise_conv2d`.

    Returns:
        (N, C, H, W), of `x`'s dtype and memory format.

    Raises:
        UserError: As for `depthwise_conv2d`.

    Source: Han et al., ICLR 2022, section 3.2, inhomogeneous dynamic depth-wise convolution.
    """
    x, weight, bias, scale = _autocast(x, weight, bias, scale)
    _check_input(x)
    n, c, h, w = x.shape
    groups = weight.shape[1] if weight.ndim == 6 else 1
    expected = (n, groups, *(weight.shape[2:3] * 2), h, w)
    _check('weight', weight, x, f'({n}, G, k, k, {h}, {w})', expected)
    if groups == 0 or c % groups:
        raise UserError(
            f'weight has {groups} groups, which {c} channels of x cannot form: give a number of '
            'groups that divides the channels'
        )
    _check_kernel_size(weight.shape[2])
    _check_channels(x, bias=bias, scale=scale)
    backend = _choose(backend, x, native=True)
    if backend == 'torch':
        return plain.inhomogeneous_depthwise_conv2d(x, weight, bias, scale, relu)
    if not _recorded(x, weight, bias, scale):
        return library.inhomogeneous(x, weight, bias, scale, relu, backend)
    shift = bias if scale is None else None
    out = library.inhomogeneous(x, weight, shift, None, False, backend)
    if scale is not None:
        out = out * scale[:, None, None]
        out = out if bias is None else out + bias[:, None, None]
    return out.relu() if relu else out


def idynamic(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
) -> Tensor:
    """Call `inhomogeneous_depthwise_conv2d` with the arguments of the authors' CuPy operator.

    A drop-in replacement for `_idynamic_cuda` of the authors' release, which restoration networks
    use: without CuPy, in every dtype, and on the CPU:

        from mmdwnet.ops import idynamic as _idynamic_cuda

    Args:
        input: (N, C, H, W).
        weight: Kernels, (N, G, k, k, H, W).
        bias: Added to each channel, (C,).
        stride: Must be 1.
        padding: Must be k // 2.
        dilation: Must be 1.

    Returns:
        (N, C, H, W).

    Raises:
        UserError: For another stride, padding or dilation; otherwise as for `depthwise_conv2d`.
    """
    given = {
        name: tuple(value) if isinstance(value, (tuple, list)) else (value, value)
        for name, value in dict(stride=stride, padding=padding, dilation=dilation).items()
    }
    same = weight.shape[2] // 2 if weight.ndim == 6 else 0
    if given != dict(stride=(1, 1), padding=(same, same), dilation=(1, 1)):
        raise UserError(
            f'idynamic got stride={stride}, padding={padding} and dilation={dilation}, but keeps '
            f'the size of its input: give stride=1, padding={same}, half of the kernel, and '
            'dilation=1'
        )
    return inhomogeneous_depthwise_conv2d(input, weight, bias)


def _homogeneous(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    scale: Tensor | None,
    relu: bool,
    backend: str | None,
) -> Tensor:
    """Filter with (N, C, k, k), or with (1, C, k, k) for all images."""
    _check_kernel_size(weight.shape[-1])
    _check_channels(x, bias=bias, scale=scale)
    if scale is not None:
        weight = weight * scale[:, None, None]
    backend = _choose(backend, x, native=x.dtype != torch.float64)
    if backend == 'torch':
        return plain.depthwise_conv2d(x, weight, bias, relu)
    if not _recorded(x, weight, bias):
        return library.homogeneous(x, weight, bias, relu, backend)
    out = library.homogeneous(x, weight, bias, False, backend)
    return out.relu() if relu else out


def _recorded(*tensors: Tensor | None) -> bool:
    """Whether autograd records operations on the tensors."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


def _choose(backend: str | None, x: Tensor, native: bool) -> str:
    """Choose the backend for `x`, or check the given one."""
    if backend is None:
        if torch.onnx.is_in_onnx_export() or _transformed():
            return 'torch'
        if x.device.type == 'meta':
            return 'cpu'  # shapes and FLOPs, which torch knows of operators
        if x.device.type == 'cuda' and _HAS_TRITON:
            return library.AUTOMATIC
        if x.device.type == 'cpu' and native and HAS_ONEDNN:
            return 'cpu'
        return 'torch'
    if backend not in BACKENDS:
        raise UserError(f'there is no backend {backend!r}: choose one of {list(BACKENDS)}')
    if backend != 'torch' and _transformed():
        raise UserError(
            f'the backend {backend!r} supports neither forward-mode differentiation nor '
            "torch.func: give backend='torch', or none"
        )
    if backend == 'cpu' and x.device.type != 'cpu':
        raise UserError(f"the backend 'cpu' got an input on {x.device}: move it to the CPU")
    if backend == 'triton':
        if not _HAS_TRITON:
            raise UserError("the backend 'triton' needs Triton: pip install triton")
        if x.device.type != 'cuda' and not _INTERPRETED:
            raise UserError(f"the backend 'triton' got an input on {x.device}: move it to CUDA")
    return backend


def _transformed() -> bool:
    """Whether a transform is active that custom operators lack; torch has no public way to ask."""
    if torch.compiler.is_compiling():
        return False  # torch traces through transforms itself, and cannot trace the question
    return forward_ad._current_level >= 0 or torch._C._are_functorch_transforms_active()


def _autocast(*tensors: Tensor | None) -> tuple:
    """Convert tensors as autocast does for a convolution."""
    device = tensors[0].device.type  # type: ignore[union-attr]
    if device == 'meta' or not torch.is_autocast_enabled(device):
        return tensors
    dtype = torch.get_autocast_dtype(device)
    return tuple(
        t.to(dtype) if t is not None and t.is_floating_point() and t.dtype != torch.float64 else t
        for t in tensors
    )


def _check_input(x: Tensor) -> None:
    if x.ndim != 4 or 0 in x.shape[1:]:
        raise UserError(f'x has the shape {tuple(x.shape)}: give (N, C, H, W), none but N zero')
    if x.dtype not in DTYPES:
        raise UserError(f'x is {x.dtype}: give one of {", ".join(map(str, DTYPES))}')


def _square(weight: Tensor) -> tuple[int, ...]:
    """Return the expected size of the last two dimensions, which are square."""
    return tuple(weight.shape[-1:]) * 2


def _check(name: str, tensor: Tensor, x: Tensor, wanted: str, shape: tuple[int, ...]) -> None:
    """Check a tensor's shape, and that its dtype and device are `x`'s."""
    if tuple(tensor.shape) != shape:
        raise UserError(
            f'{name} has the shape {tuple(tensor.shape)}, but x is {tuple(x.shape)}: give {wanted}'
        )
    if tensor.dtype != x.dtype or tensor.device != x.device:
        raise UserError(
            f'{name} is {tensor.dtype} on {tensor.device}, but x is {x.dtype} on {x.device}: '
            'convert one of them'
        )


def _check_channels(x: Tensor, **tensors: Tensor | None) -> None:
    for name, tensor in tensors.items():
        if tensor is not None:
            _check(name, tensor, x, f'({x.shape[1]},)', (x.shape[1],))


def _check_kernel_size(k: int) -> None:
    if k % 2 == 0 or not MIN_KERNEL <= k <= MAX_KERNEL:
        raise UserError(
            f'weight has kernels of {k} x {k}: give an odd side from {MIN_KERNEL} to {MAX_KERNEL}'
        )
