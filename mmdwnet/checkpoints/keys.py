"""Compare state dicts by their keys and shapes."""

from collections.abc import Collection, Mapping, Sequence
from typing import TypeGuard

import torch
from torch import Tensor

_SHOWN = 3  # keys of each kind in a message


def differences(weights: Mapping[str, Tensor], shapes: Mapping[str, Sequence[int]]) -> str:
    """Describe how weights differ from those of a model."""
    kinds = {
        'missing': [key for key in shapes if key not in weights],
        'unexpected': [key for key in weights if key not in shapes],
        'of another shape': [
            key for key in shapes if key in weights and weights[key].shape != shapes[key]
        ],
    }
    return '; '.join(f'{some(keys)} {kind}' for kind, keys in kinds.items() if keys)


def is_plain(value: object) -> TypeGuard[Tensor]:
    """Return whether a value is a dense tensor of numbers on the CPU."""
    return (
        isinstance(value, Tensor)
        and value.layout is torch.strided
        and value.device.type == 'cpu'
        and not (value.is_quantized or value.is_nested)
    )


def some(keys: Collection[str]) -> str:
    """Count keys and name the first of them."""
    more = ', ...' if len(keys) > _SHOWN else ''
    names = f' ({", ".join(list(keys)[:_SHOWN])}{more})' if keys else ''
    return f'{len(keys)} key{"" if len(keys) == 1 else "s"}{names}'
