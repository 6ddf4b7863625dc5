"""Save for the backward pass what is costly to compute, and compute the rest again.

torch's selective checkpointing chooses operator by operator and takes each of them through Python
twice, which costs as much time as the recomputation itself. Here a block says which of its modules
are cheap; only those are computed again, and no graph is built again.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, distributed, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

Function = Callable[[Tensor], Tensor]


def chain(cheap: Sequence[nn.Module], costly: Function, x: Tensor, recompute: bool) -> Tensor:
    """Apply cheap modules, then something costly.

    Args:
        cheap: Modules that depend on `x`, their parameters and buffers alone, such as norms and
            activations.
        costly: What follows; it reads the result of the cheap modules and does not change it.
        x: Input of the first module.
        recompute: Whether the backward pass computes the result of the cheap modules again; by
            default torch saves it.

    Returns:
        The same in both cases.
    """
    if not recompute or not torch.is_grad_enabled():
        for module in cheap:
            x = module(x)
        return costly(x)
    if torch.compiler.is_compiling():  # a compiled graph does not even save what `costly` reads
        return costly(checkpointed(nn.Sequential(*cheap), x))
    saved: list[_Saved] = []

    def pack(tensor: Tensor) -> _Saved:
        saved.append(_Saved(tensor))
        return saved[-1]

    with saved_tensors_hooks(pack, _Saved.unpack):
        y, repetitions = x, []
        for module in cheap:
            before, y = y, module(y)
            # Now, as the next module may work in place.
            repetitions.append(_repetition(module, before, y))
        out = costly(y)
    again = _Again(repetitions, x)
    for each in saved:
        each.replace(y, again)
    return out


def checkpointed(block: nn.Module, x: Tensor) -> Tensor:
    """Apply a block of which the backward pass computes everything again."""
    first, again = iter([block]), partial(_apply_to_copies, block)

    def run(x: Tensor) -> Tensor:
        if torch.compiler.is_compiling():  # a compiled graph repeats values, not side effects
            return block(x)
        return next(first, again)(x)

    return checkpoint(run, x, use_reentrant=False)


class _Again:
    """Computes the result of cheap modules again, once for all operators that saved it."""

    def __init__(self, repetitions: Sequence[Function], x: Tensor) -> None:
        self._repetitions = repetitions
        self._x = x.detach()
        device = x.device.type
        # A backward pass runs outside of the forward pass's autocast.
        self._autocast = partial(
            torch.autocast,
            device,
            dtype=torch.get_autocast_dtype(device),
            enabled=torch.is_autocast_enabled(device),
        )
        self._result: Tensor | None = None
        self._asked = 0
        self.askers = 0

    def __call__(self) -> Tensor:
        result = self._result
        if result is None:
            with torch.no_grad(), self._autocast():
                result = self._x
                for repetition in self._repetitions:
                    result = repetition(result)
        self._asked += 1
        # Nobody asks after the last one, except in a second backward pass through the same graph.
        self._result = result if self._asked % self.askers else None
        return result


class _Saved:
    """What autograd saves: a tensor, or how to compute it again."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor: Tensor | None = tensor

    def replace(self, result: Tensor, again: _Again) -> None:
        """Let go of the tensor if it is `result` or a view of it, which can be computed again."""
        tensor = self.tensor
        # Compared as objects, as the memory of all empty tensors has one address.
        if tensor is None or tensor.untyped_storage() is not result.untyped_storage():
            return
        self._layout = tensor.shape, tensor.stride(), tensor.storage_offset()
        self._again = again
        again.askers += 1
        self.tensor = None

    def unpack(self) -> Tensor:
        """Return the tensor."""
        return self._again().as_strided(*self._layout) if self.tensor is None else self.tensor


def _apply_to_copies(module: nn.Module, x: Tensor) -> Tensor:
    """Apply a module to `x` and to copies of its buffers: its statistics stay as they are."""
    copies = {name: buffer.clone() for name, buffer in module.named_buffers()}
    return functional_call(module, copies, (x,))


def _repetition(module: nn.Module, x: Tensor, y: Tensor) -> Function:
    """Return a function that computes `y`, the output of a cheap module for `x`, again."""
    return _affine(x, y) if _may_communicate(module) else partial(_apply_to_copies, module)


def _may_communicate(module: nn.Module) -> bool:
    """Whether a module may be a norm with statistics over the batches of several processes."""
    return (
        module.training
        and hasattr(module, 'running_mean')
        and distributed.is_available()
        and distributed.is_initialized()
        and distributed.get_world_size() > 1
        and not isinstance(module, (nn.BatchNorm2d, nn.InstanceNorm2d))  # SyncBatchNorm is neither
    )


@torch.no_grad()
def _affine(x: Tensor, y: Tensor) -> Function:
    """Return the scale and shift of each channel that `y` was computed from `x` by.

    That is what any norm over the batch does once its statistics are known. Applied again, it would
    communicate during the backward pass, which not every process needs at the same time.
    """
    dims = [0, *range(2, x.ndim)]
    dtype = torch.promote_types(x.dtype, torch.float32)
    variance, center = torch.var_mean(x.to(dtype), dims, correction=0, keepdim=True)
    shift = y.mean(dims, keepdim=True, dtype=dtype)
    covariance = ((x - center) * (y - shift)).mean(dims, keepdim=True)
    scale = torch.where(variance > 0, covariance / variance, 0)  # 0 for a constant channel
    empty = partial(torch.empty_strided, y.shape, y.stride(), dtype=y.dtype, device=y.device)
    return lambda x: torch.addcmul(shift, x - center, scale, out=empty())
