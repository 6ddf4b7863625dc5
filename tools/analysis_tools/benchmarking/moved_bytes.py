"""Count the bytes that a training step reads and writes.

On GPUs, most operators of these networks are limited by memory bandwidth, so that the sum tells how
fast a step can be at best. The count needs no GPU.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# They do not read their first tensor, which they write to or only ask for its shape or dtype.
_OVERWRITES = {
    *('copy_', 'fill_', 'zero_', 'full_like', 'ones_like', 'zeros_like'),
    *('new_full', 'new_ones', 'new_zeros'),
}
_ALLOCATES = {'empty', 'empty_like', 'empty_strided', 'new_empty', 'new_empty_strided'}


class MovedBytes(TorchDispatchMode):
    """Count, by operator, the bytes of the tensors that are read and written.

    Each operator reads its inputs once and writes its outputs once, as if it had no cache and
    needed one pass. Views and allocations are free. Of a broadcast tensor, what lies in memory
    counts.

    Attributes:
        by_operator: The bytes by the name of the operator.
    """

    def __init__(self) -> None:
        super().__init__()
        self.by_operator: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        """Run an operator and count it."""
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        self.by_operator[func._schema.name.removeprefix('aten::')] += _moved(
            func, args, kwargs, out
        )
        return out


def _moved(func: Any, args: tuple, kwargs: dict, out: Any) -> int:
    name, arguments = func.overloadpacket.__name__, func._schema.arguments
    if name in _ALLOCATES:
        return 0
    given = {**dict(zip((each.name for each in arguments), args, strict=False)), **kwargs}
    read = _tensors(given)
    changed = _tensors(
        [
            given.get(each.name)
            for each in arguments
            if each.alias_info is not None and each.alias_info.is_write
        ]
    )
    known = {tensor.untyped_storage()._cdata for tensor in read}
    new = [x for x in _tensors(out) if x.untyped_storage()._cdata not in known]
    if not changed and not new:
        return 0  # a view
    if name in _OVERWRITES:
        read = read[1:]
    return sum(map(in_memory, (*read, *changed, *new)))


def in_memory(x: Tensor) -> int:
    """Return the bytes of the elements of a tensor that lie in memory: broadcast ones once."""
    sizes = (size for size, stride in zip(x.shape, x.stride(), strict=True) if stride or not size)
    return torch.Size(sizes).numel() * x.element_size()


def _tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


@contextmanager
def compiled_bytes() -> Iterator[Counter[str]]:
    """Count what the programs that are compiled in this context read and write in one run.

    Yields:
        The bytes, under 'compiled', once the context has ended. The compiler counts them itself:
        each fused loop and each operator reads its inputs once and writes its outputs once.
    """
    from torch._inductor import config, metrics

    count: Counter[str] = Counter()
    torch._logging.set_logs(inductor_metrics=True)  # it counts only if it logs
    before = metrics.num_bytes_accessed
    try:
        with config.patch(force_disable_caches=True):
            yield count
    finally:
        torch._logging.set_logs()
    count['compiled'] = metrics.num_bytes_accessed - before
