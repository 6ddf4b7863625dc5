"""Keeping for the backward pass what is costly to compute, and computing the rest again.

torch's selective checkpointing chooses operator by operator, for which it takes every one of them
through Python twice: as much time again as the recomputation itself. Here a block says what in it
is cheap; only that is computed again, and no graph is built again.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def chain(
    cheap: Sequence[nn.Module], costly: Callable[[Tensor], Tensor], x: Tensor, recompute: bool
) -> Tensor:
    """Apply cheap modules, then something costly.

    Args:
        cheap: Modules that depend on `x` and their parameters alone, such as norms and activations.
        costly: What follows; it reads the cheap modules' result and does not change it.
        x: Input of the first module.
        recompute: Whether the backward pass computes the cheap modules' result again; by default
            torch saves it.

    Returns:
        The same in both cases.
    """
    if not recompute or not torch.is_grad_enabled():
        return costly(_apply(cheap, x))
    saved: list[_Saved] = []

    def pack(tensor: Tensor) -> _Saved:
        saved.append(_Saved(tensor))
        return saved[-1]

    with saved_tensors_hooks(pack, _Saved.unpack):
        y = _apply(cheap, x)
        out = costly(y)
    again = _Again(cheap, x)
    for each in saved:
        each.replace(y, again)
    return out


def checkpointed(block: nn.Module, x: Tensor) -> Tensor:
    """Apply a block of which the backward pass computes everything again.

    Args:
        block: From a tensor to a tensor.
        x: Its input.

    Returns:
        The block's output.
    """
    contexts = partial(_contexts, block)
    return checkpoint(block, x, use_reentrant=False, context_fn=contexts)


@contextmanager
def statistics_kept(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Keep BNs from counting a batch again while a part of the network is recomputed.

    Args:
        modules: What is recomputed.
    """
    norms = [
        norm for module in modules for norm in module.modules() if isinstance(norm, _BatchNorm)
    ]
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count


class _Again:
    """Computes the result of cheap modules again, once for all operators that saved it."""

    def __init__(self, cheap: Sequence[nn.Module], x: Tensor) -> None:
        self._cheap = cheap
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
            with torch.no_grad(), self._autocast(), statistics_kept(self._cheap):
                result = _apply(self._cheap, self._x)
        self._asked += 1
        # Nobody asks after the last one, but in a second backward pass through the same graph.
        self._result = result if self._asked % self.askers else None
        return result


class _Saved:
    """What autograd saves: a tensor, or how to compute it again."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor: Tensor | None = tensor

    def replace(self, result: Tensor, again: _Again) -> None:
        """Let go of the tensor if it is one that can be computed again."""
        tensor = self.tensor
        if tensor is None or _address(tensor) != _address(result):
            return
        self._layout = tensor.shape, tensor.stride(), tensor.storage_offset()
        self._again = again
        again.askers += 1
        self.tensor = None

    def unpack(self) -> Tensor:
        """Return the tensor."""
        return self._again().as_strided(*self._layout) if self.tensor is None else self.tensor


def _contexts(block: nn.Module) -> tuple[AbstractContextManager, AbstractContextManager]:
    """Return contexts for a checkpointed block's forward pass and for its recomputation."""
    return nullcontext(), statistics_kept([block])


def _apply(modules: Sequence[nn.Module], x: Tensor) -> Tensor:
    for module in modules:
        x = module(x)
    return x


def _address(tensor: Tensor) -> int:
    """Return where the memory lies that a tensor shares with its views."""
    return tensor.untyped_storage().data_ptr()
