"""Stand-ins for the classes and functions that a checkpoint names, while it is read.

torch's weights-only reader calls what is marked as safe and fills what it returns. No real
function is safe enough: `getattr` alone reaches the dict of `builtins`, and the reader fills dicts.
So these are marked under the names in the file. They make numbers, arrays of numbers, and
histories of them, or nothing at all.
"""

from collections import OrderedDict

import numpy as np
from mmengine.logging import HistoryBuffer


class Nothing:
    """Give an empty dict for any call, as the reader fills only dicts."""

    def __new__(cls, *args: object) -> OrderedDict:  # type: ignore[misc]
        """Ignore the arguments."""
        return OrderedDict()


class Stateful:
    """Accept any call and any state, even one that is no dict, and keep nothing."""

    def __new__(cls, *args: object) -> 'Stateful':
        """Ignore the arguments."""
        return object.__new__(cls)

    def __setstate__(self, state: object) -> None:
        pass


class DType:
    """Stand in for `numpy.dtype`, for numbers only.

    Where a dtype says so, numpy takes bytes from the file for the addresses of objects.
    """

    dtype: np.dtype

    def __new__(cls, code: object, *args: object) -> 'DType':
        """Accept a code such as 'f8'."""
        if not isinstance(code, str) or np.dtype(code).kind not in 'biufc':
            raise ValueError('a dtype that is not of numbers')
        made = object.__new__(cls)
        made.dtype = np.dtype(code)
        return made

    def __setstate__(self, state: tuple) -> None:
        if state[2:] != (None, None, None, -1, -1, 0):  # what numbers have after their byte order
            raise ValueError('a dtype that is not of numbers')
        self.dtype = self.dtype.newbyteorder(state[1])


class Array:
    """Stand in for `numpy.ndarray`, and for the function that arrays are pickled as a call of."""

    value: np.ndarray

    def __new__(cls, kind: object, *args: object) -> 'Array':
        """Accept the class of arrays, as that function does, which makes an empty one."""
        if kind is not Array:
            raise ValueError('a call of numpy.ndarray')
        return object.__new__(cls)

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, data = state
        if type(dtype) is not DType or type(data) is not bytes:
            raise ValueError('an array that is not of numbers')
        order = 'F' if fortran else 'C'
        self.value = np.ndarray(shape, dtype.dtype, data, order=order).copy(order)  # type: ignore


class History:
    """Stand in for `HistoryBuffer`."""

    def __setstate__(self, state: dict) -> None:
        log, count, length = (state[k] for k in ('_log_history', '_count_history', 'max_length'))
        if type(log) is not Array or type(count) is not Array or type(length) is not int:
            raise ValueError('a history that is not of numbers')
        self.value = HistoryBuffer(log.value, count.value, length)


def number(dtype: object, data: object) -> object:
    """Stand in for the function that numpy's numbers are pickled as a call of."""
    array = Array(Array)
    array.__setstate__((1, (), dtype, False, data))
    return array.value[()]


def method(owner: object, name: object) -> None:
    """Stand in for `getattr`, by which a history names methods that it has anyway."""
    if owner is not History:
        raise ValueError('an attribute that is not of a history')


def replace(read: object, seen: dict[int, tuple] | None = None) -> object:
    """Replace the stand-ins in what was read by the arrays and histories they made."""
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
