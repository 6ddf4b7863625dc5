"""Stand-ins for the classes and functions that a checkpoint names, while it is read.

torch's weights-only reader calls what is marked as safe and fills what it returns. No real
function is safe enough: `getattr` alone reaches the dict of `builtins`, and the reader fills dicts.
So these classes are marked under the names in the file. They make numbers, arrays of numbers, and
histories of them, or nothing at all.
"""

from collections import OrderedDict

import numpy as np
from mmengine.logging import HistoryBuffer


class Nothing:
    """Give an empty dict for any call, as the reader fills dicts only."""

    def __new__(cls, *args: object) -> OrderedDict:  # type: ignore[misc]
        """Ignore the arguments."""
        return OrderedDict()


class Stateful:
    """Accept any arguments and any state, and keep nothing; no dict takes a tuple as a state."""

    def __new__(cls, *args: object) -> 'Stateful':
        """Ignore the arguments."""
        return object.__new__(cls)

    def __setstate__(self, state: object) -> None:
        """Ignore the state."""


class Method:
    """Stand in for `getattr` where a history names its methods, which are not used."""

    def __new__(cls, owner: object, name: object) -> 'Method':
        """Accept `HistoryBuffer` as the owner, and nothing else."""
        if owner is not History:
            raise ValueError('an attribute of something other than a history')
        return object.__new__(cls)


class ArrayType:
    """Stand in for `numpy.ndarray`, which arrays name, but never call."""

    def __new__(cls, *args: object) -> 'ArrayType':
        """Raise."""
        raise ValueError('a call of numpy.ndarray')


class NumberType:
    """Stand in for `numpy.dtype`, for numbers only.

    Where a dtype says so, numpy takes bytes from the file for the addresses of objects.
    """

    dtype: np.dtype

    def __new__(cls, code: object, *args: object) -> 'NumberType':
        """Accept a code such as 'f8'."""
        dtype = np.dtype(code) if isinstance(code, str) else None
        if dtype is None or dtype.kind not in 'biufc':
            raise ValueError('a dtype that is not of numbers')
        made = object.__new__(cls)
        made.dtype = dtype
        return made

    def __setstate__(self, state: object) -> None:
        """Take the byte order, the one part of the state that numbers have."""
        if not isinstance(state, tuple) or state[2:] != (None, None, None, -1, -1, 0):
            raise ValueError('a dtype that is not of numbers')
        self.dtype = self.dtype.newbyteorder(state[1])


class Number:
    """Stand in for the function that numpy's numbers are made by."""

    def __new__(cls, dtype: object, data: object) -> np.generic:  # type: ignore[misc]
        """Return the number itself."""
        return _array((), dtype, data)[()]


class Array:
    """Stand in for the function that arrays are made by, and for the array."""

    value: np.ndarray

    def __new__(cls, *args: object) -> 'Array':
        """Ignore the arguments, which describe an empty array."""
        return object.__new__(cls)

    def __setstate__(self, state: tuple) -> None:
        """Make the array from its shape, dtype, order, and bytes."""
        _, shape, dtype, fortran, data = state
        self.value = _array(shape, dtype, data, 'F' if fortran else 'C')


class History:
    """Stand in for `HistoryBuffer`."""

    value: HistoryBuffer

    def __setstate__(self, state: dict) -> None:
        """Make the history from its numbers; its methods are those of mmengine."""
        parts = [state['_log_history'], state['_count_history']]
        if not all(type(part) is Array for part in parts) or type(state['max_length']) is not int:
            raise ValueError('a history of something other than numbers')
        self.value = HistoryBuffer(*(part.value for part in parts), state['max_length'])


def replace(read: object, seen: dict[int, tuple] | None = None) -> object:
    """Replace the stand-ins in what was read by the arrays and histories they made.

    Args:
        read: What was read; its dicts and lists are changed in place.
        seen: Containers met so far and their replacements, by id: a file may nest them in circles.

    Returns:
        The same without stand-ins.
    """
    seen = {} if seen is None else seen
    if isinstance(read, Array | History):
        return read.value
    if type(read) is not tuple and not isinstance(read, dict | list):
        return read
    if id(read) not in seen:
        seen[id(read)] = (read, read)
        if isinstance(read, dict):
            for key, value in read.items():
                read[key] = replace(value, seen)
        elif isinstance(read, list):
            read[:] = [replace(value, seen) for value in read]
        else:
            seen[id(read)] = (read, tuple(replace(value, seen) for value in read))
    return seen[id(read)][1]


def _array(shape: tuple[int, ...], dtype: object, data: object, order: str = 'C') -> np.ndarray:
    if type(dtype) is not NumberType or type(data) is not bytes:
        raise ValueError('an array of something other than numbers')
    return np.ndarray(shape, dtype.dtype, data, order=order).copy(order)
