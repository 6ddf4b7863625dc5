"""Operators of `mmdwnet.ops` and equivalents in torch, as functions to time.

To time another operator or implementation, add it to `OPERATORS`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from mmdwnet import ops

Function = Callable[..., Tensor]


@dataclass(frozen=True)
class Size:
    """Size of the inputs of an operator: (N, C, H, W), with k x k kernels.

    Attributes:
        n: Images.
        c: Channels, divisible by `groups` for the inhomogeneous operator.
        h: Height.
        w: Width.
        k: Side of the kernels, odd.
        groups: G of the inhomogeneous operator.
    """

    n: int
    c: int
    h: int
    w: int
    k: int = 7
    groups: int = 32

    def __str__(self) -> str:
        return f'({self.n}, {self.c}, {self.h}, {self.w}), k = {self.k}'


@dataclass(frozen=True)
class Operator:
    """An operator and its implementations.

    Attributes:
        weight_shape: Function from a size to the shape of the kernels.
        ways: Implementations, functions of x and weight, by name, with the memory format of x. The
            first one is the default baseline.
    """

    weight_shape: Callable[[Size], tuple[int, ...]]
    ways: dict[str, tuple[Function, torch.memory_format]]


@dataclass(frozen=True)
class OperatorSteps:
    """An implementation that is ready to be timed.

    Attributes:
        step: Forward pass, or forward and backward pass.
        must_move: Minimum of bytes to read and write: each input and each output once.
    """

    step: Callable[[], object]
    must_move: int


def torch_depthwise(x: Tensor, weight: Tensor) -> Tensor:
    """Compute a depth-wise convolution with torch; weight is (C, k, k)."""
    c, k = weight.shape[:2]
    return F.conv2d(x, weight.unsqueeze(1), padding=k // 2, groups=c)


def torch_dynamic(x: Tensor, weight: Tensor) -> Tensor:
    """Compute one convolution with N * C groups; weight is (N, C, k, k)."""
    n, c, h, w = x.shape
    k = weight.shape[-1]
    weight = weight.reshape(n * c, 1, k, k)
    out = F.conv2d(x.reshape(1, n * c, h, w), weight, padding=k // 2, groups=n * c)
    return out.view(n, c, h, w)


def torch_inhomogeneous(x: Tensor, weight: Tensor) -> Tensor:
    """Unfold, multiply and sum; weight is (N, G, k, k, H, W)."""
    n, c, h, w = x.shape
    groups, k = weight.shape[1:3]
    taps = F.unfold(x, k, padding=k // 2).view(n, groups, c // groups, k * k, h, w)
    return (taps * weight.view(n, groups, 1, k * k, h, w)).sum(3).view(n, c, h, w)


NCHW, NHWC = torch.contiguous_format, torch.channels_last
OPERATORS = {
    'depthwise': Operator(
        lambda s: (s.c, s.k, s.k),
        {
            'F.conv2d, NCHW': (torch_depthwise, NCHW),
            'F.conv2d, channels-last': (torch_depthwise, NHWC),
            'mmdwnet.ops, channels-last': (ops.depthwise_conv2d, NHWC),
        },
    ),
    'dynamic': Operator(
        lambda s: (s.n, s.c, s.k, s.k),
        {
            'grouped F.conv2d, NCHW': (torch_dynamic, NCHW),
            'grouped F.conv2d, channels-last': (torch_dynamic, NHWC),
            'mmdwnet.ops, channels-last': (ops.dynamic_depthwise_conv2d, NHWC),
        },
    ),
    'inhomogeneous': Operator(
        lambda s: (s.n, s.groups, s.k, s.k, s.h, s.w),
        {
            'unfold-multiply-sum, NCHW': (torch_inhomogeneous, NCHW),
            'mmdwnet.ops, NCHW': (ops.inhomogeneous_depthwise_conv2d, NCHW),
            'mmdwnet.ops, channels-last': (ops.inhomogeneous_depthwise_conv2d, NHWC),
        },
    ),
}


def prepare(
    name: str, size: Size, mode: str, dtype: torch.dtype, device: torch.device
) -> dict[str, OperatorSteps]:
    """Create inputs for an operator and warm up all of its implementations.

    Args:
        name: Key of `OPERATORS`.
        size: Size of the inputs.
        mode: 'infer' for the forward pass, 'train' for forward and backward pass.
        dtype: Dtype of the inputs.
        device: Device to run on.

    Returns:
        The functions to time, by name of the implementation.
    """
    operator = OPERATORS[name]
    made = {}
    for way, (function, memory_format) in operator.ways.items():
        torch.manual_seed(0)
        x = torch.randn(size.n, size.c, size.h, size.w, device=device, dtype=dtype)
        weight = torch.randn(operator.weight_shape(size), device=device, dtype=dtype)
        steps = _steps(function, x.contiguous(memory_format=memory_format), weight, mode == 'train')
        for _ in range(2):
            steps.step()
        made[way] = steps
    return made


def copy_step(device: torch.device, size_bytes: int = 2**26) -> OperatorSteps:
    """Return a copy on a device, as a reference for bandwidth.

    Args:
        device: The device.
        size_bytes: Bytes to copy.

    Returns:
        The function to time.
    """
    source = torch.zeros(size_bytes, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    return OperatorSteps(lambda: target.copy_(source), 2 * size_bytes)


def _steps(function: Function, x: Tensor, weight: Tensor, backward: bool) -> OperatorSteps:
    forward_bytes = 2 * x.nbytes + weight.nbytes
    if not backward:

        def infer() -> Tensor:
            with torch.no_grad():
                return function(x, weight)

        return OperatorSteps(infer, forward_bytes)

    x.requires_grad_()
    weight.requires_grad_()
    # Draw values before setting the memory format, so that they are the same for all.
    gradient = torch.empty_like(x).copy_(torch.randn(x.shape, device=x.device, dtype=x.dtype))

    def train() -> tuple[Tensor, ...]:
        return torch.autograd.grad(function(x, weight), (x, weight), gradient)

    # The backward pass reads the gradient and both inputs, and writes two gradients.
    return OperatorSteps(train, forward_bytes + 3 * x.nbytes + 2 * weight.nbytes)
