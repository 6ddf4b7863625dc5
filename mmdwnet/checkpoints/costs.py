"""What reading a pickle would cost, found out without reading it.

A few bytes of a pickle can stand for any amount of work: an object that is put into two others,
each of which is put into two others, or a tensor that repeats one number. torch's weights-only
reader does whatever it is asked to with what it takes for data. Here its opcodes are followed with
numbers in place of objects: how much whoever copies or hashes the object would go through.
"""

import math
import pickletools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from mmdwnet.errors import UserError

_MOST_PER_BYTE, _MOST_ANYWAY = 16, 2**25  # honest files need about 1 for each of their bytes
# A tensor of one number repeated is valid, and weights of zeros are often kept as such.
_ELEMENTS_PER_OBJECT = 4
_DEEPEST = 500  # hashing goes down in C, without a limit of its own
_MOST_DIMENSIONS = 64  # of torch's
_INFINITE = 2**62
_TEXT = {'latin1', 'latin-1'}  # as pickle writes bytes; other codecs multiply them
_ALLOCATES = re.compile(r'torch\.(\w+\.)*\w*(Tensor|Storage)')  # called with a size, by no file


@dataclass(slots=True, eq=False)
class _Made:
    """What stands on the stack in place of an object.

    Args:
        weight: How much there is to go through for those who copy or hash it.
        depth: Of tuples within tuples.
        value: What it is, if it is a constant, a name, or a tuple of others.
        odd: How many keys a list or dict has that a file can choose to have one hash.
    """

    weight: int = 1
    depth: int = 0
    value: object = None
    odd: int = 0


@dataclass(frozen=True)
class _Name:
    path: str


class Storage(NamedTuple):
    """What a pickle says of the numbers of a tensor, which may be anything.

    Args:
        kind: The path of their class.
        key: Where the file has them.
        elements: How many there are.
    """

    kind: Any
    key: Any
    elements: Any


def check_costs(pickles: Iterable[bytes], size: int, source: str) -> set[Storage]:
    """Check that pickles ask for no more than an honest file does.

    Args:
        pickles: Those in a file.
        size: Of the file, in bytes.
        source: What messages call it.

    Returns:
        The storages that they name.

    Raises:
        UserError: They ask for more.
        Exception: They are corrupt.
    """
    account = _Account(_MOST_PER_BYTE * size + _MOST_ANYWAY, source)
    for each in pickles:
        account.follow(each)
    return account.storages


class _Account:
    """What reading the pickles of a file has cost so far.

    Args:
        left: How much it may cost.
        source: What messages call the file.
    """

    def __init__(self, left: int, source: str) -> None:
        self._left = left
        self._source = source
        self.storages: set[Storage] = set()

    def follow(self, pickle: bytes) -> None:
        """Pay for a pickle."""
        stack: list[_Made] = []
        marked: list[list[_Made]] = []
        memo: dict[int, _Made] = {}
        given: Any
        for opcode, given, _ in pickletools.genops(pickle):
            name = opcode.name
            if name in ('BINPUT', 'LONG_BINPUT'):
                memo[given] = stack[-1]
            elif name in ('BINGET', 'LONG_BINGET'):
                stack.append(memo[given])
            elif name in ('TUPLE1', 'TUPLE2', 'TUPLE3', 'APPEND', 'SETITEM'):
                count = {'APPEND': 1, 'SETITEM': 2}.get(name) or int(name[-1])
                items = stack[-count:]
                del stack[-count:]
                self._collect(name, stack, items)
            elif name == 'MARK':
                marked.append(stack)
                stack = []
            elif name in ('TUPLE', 'APPENDS', 'SETITEMS'):
                items, stack = stack, marked.pop()
                self._collect(name, stack, items)
            elif name in ('REDUCE', 'NEWOBJ'):
                arguments = stack.pop()
                stack[-1] = self._call(stack[-1], arguments)
            elif name in ('BUILD', 'BINPERSID'):
                self._pay(state := stack.pop())
                if name == 'BINPERSID':
                    self._store(state)
                    stack.append(_Made())
            elif name == 'GLOBAL':
                stack.append(_Made(value=_Name(given.replace(' ', '.'))))
            elif name not in ('PROTO', 'STOP'):  # a constant, or an empty list, dict or set
                weight = len(given) if isinstance(given, str | bytes) else 1
                value = () if name == 'EMPTY_TUPLE' else given
                stack.append(_Made(weight, value=value, odd=name == 'LONG1'))

    def _pay(self, *things: _Made) -> None:
        self._left -= sum(thing.weight for thing in things)
        if self._left < 0 or any(thing.depth > _DEEPEST for thing in things):
            raise self._refusal()

    def _refusal(self) -> UserError:
        return UserError(
            f'the checkpoint {self._source} would take more memory or time to read than an honest '
            'file of its size: nothing was read; do not use it'
        )

    def _collect(self, name: str, stack: list[_Made], items: list[_Made]) -> None:
        """Make a tuple of items, or put them into the list or dict on the stack."""
        if name.startswith('TUPLE'):
            depth = 1 + max((item.depth for item in items), default=0)
            weight = 1 + sum(item.weight for item in items)
            stack.append(_Made(min(weight, _INFINITE), depth, tuple(items)))
            return
        owner = stack[-1]
        for key in items if name.startswith('APPEND') else items[::2]:
            odd = _is_odd(key)
            owner.weight += key.weight
            owner.odd += odd
            owner.depth = max(owner.depth, key.depth)
            if name.startswith('SETITEM'):
                # Keys of one hash are compared with each other.
                self._pay(key, _Made(owner.odd * odd * key.weight))

    def _call(self, function: _Made, arguments: _Made) -> _Made:
        """Pay for a call; return what it makes."""
        name, given = function.value, arguments.value
        if not isinstance(name, _Name) or not isinstance(given, tuple):
            raise ValueError('a call of what is not a function')
        if name.path == 'torch._tensor._rebuild_from_type_v2':
            return self._call(given[0], given[2])
        self._pay(arguments, *given, *(_Made(thing.odd * thing.weight) for thing in given))
        if _ALLOCATES.fullmatch(name.path):
            raise self._refusal()
        if name.path in ('_codecs.encode', 'builtins.bytearray') and not (
            all(isinstance(thing.value, str | bytes) for thing in given[:1])
            and _TEXT.issuperset(thing.value for thing in given[1:])
        ):
            raise self._refusal()
        weight = arguments.weight
        if re.fullmatch(r'torch\._utils\._rebuild_(q?tensor|tensor_v\d)', name.path):
            weight = _elements(given[2].value) // _ELEMENTS_PER_OBJECT
        made = _Made(weight, arguments.depth)
        self._pay(made)
        return made

    def _store(self, storage: _Made) -> None:
        """Pay for a storage once."""
        name, kind, key, _, elements = _parts(storage)[:5]
        found = Storage(getattr(kind.value, 'path', None), key.value, elements.value)
        if name.value == 'storage' and found not in self.storages:
            self.storages.add(found)
            self._pay(_Made(_elements((elements,))))


def _parts(thing: _Made) -> Sequence[_Made]:
    return thing.value if isinstance(thing.value, tuple) else ()


def _is_odd(key: _Made) -> bool:
    """Whether a file can choose any number of such keys with one hash."""
    return key.odd > 0 or not isinstance(key.value, str | int)


def _elements(sizes: object) -> int:
    """Return how many elements there are in a tensor."""
    if not isinstance(sizes, tuple) or len(sizes) > _MOST_DIMENSIONS:
        raise ValueError('not a shape')
    numbers = [size.value for size in sizes]
    return math.prod(abs(number) if isinstance(number, int) else 1 for number in numbers)
