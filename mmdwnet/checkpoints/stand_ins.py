"""What takes the place of all that a checkpoint names and that is no data."""

from collections import OrderedDict

import numpy as np


def make(name: str, kind: type['Swallow']) -> type:
    """Makes a class that torch's weights-only reader takes for the one called `name`.

    The reader fills items into plain dicts only, so calling the class gives one, whatever the
    arguments: that is right for configs, which are dicts, and for most else, too. The parts of
    numpy arrays get states that no dict takes; a `kind` takes them.

    Args:
        name: With the module, such as 'yacs.config.CfgNode'.
        kind: What to make the parts of numpy arrays of.

    Returns:
        The class.
    """
    module, _, qualname = name.rpartition('.')
    body = {'__module__': module, '__qualname__': qualname}
    if module.split('.')[0] == 'numpy':
        return type(qualname, (kind,), body)
    return type(qualname, (), {**body, '__new__': lambda cls, *args: OrderedDict()})


class Swallow:
    """Takes arguments and a state, and keeps nothing."""

    def __new__(cls, *args: object) -> 'Swallow':
        """Takes anything."""
        return object.__new__(cls)

    def __setstate__(self, state: object) -> None:
        pass


class NumberType(Swallow):
    """Takes what numbers have for a dtype, and nothing else.

    numpy would believe a file that says of bytes that they are the address of an object.
    """

    def __new__(cls, code: object = 'f8', *args: object) -> 'NumberType':
        """Takes what numpy has for a number's dtype, such as 'f8'."""
        if not isinstance(code, str) or np.dtype(code).kind not in 'biuf':
            raise ValueError(f'a dtype of {code!r}')
        return object.__new__(cls)

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or state[2:] != (None, None, None, -1, -1, 0):
            raise ValueError(f'a dtype with {state}')


class OnlyNamed(Swallow):
    """Takes nothing: for what honest files name, but never call."""

    def __new__(cls, *args: object) -> 'OnlyNamed':
        """Raises."""
        raise ValueError(f'a call of {cls.__module__}.{cls.__qualname__}')
