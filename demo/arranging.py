"""Objects that are pasted into a scene, and the visible mask of each."""

from collections.abc import Callable
from typing import Any

import numpy as np

_MIN_VISIBLE = 0.9  # of an object's pixels, after other objects are drawn over it
_TRIES = 40


def box(mask: np.ndarray, y: int, x: int) -> tuple[slice, slice]:
    """Return where an object lies whose upper left corner is at row `y` and column `x`."""
    height, width = mask.shape
    return slice(y, y + height), slice(x, x + width)


def spot(size: int, mask: np.ndarray, rng: np.random.Generator) -> tuple[int, int]:
    """Return a random row and column at which an object lies entirely inside the image."""
    y, x = (int(rng.integers(0, size - side + 1)) for side in mask.shape)
    return y, x


def arrange(
    size: int,
    count: int,
    propose: Callable[[], Any],
    paint: Callable[[Any, int, int], None],
    rng: np.random.Generator,
) -> tuple[list[Any], np.ndarray]:
    """Place objects at random, so that all of them stay visible.

    Args:
        size: Side of the scene in pixels.
        count: Number of objects; fewer where there is no room.
        propose: Returns an object that fits into the scene; its `mask` is bool (h, w).
        paint: Called with each object that is placed, its row and its column.
        rng: Random generator for the places.

    Returns:
        The objects in drawing order, and bool (objects, size, size), the visible part of each;
        these parts do not overlap.
    """
    placed: list[Any] = []
    masks = np.zeros((0, size, size), bool)
    areas: list[int] = []
    for _ in range(count):
        for _ in range(_TRIES):
            thing = propose()
            y, x = spot(size, thing.mask, rng)
            full = np.zeros((size, size), bool)
            full[box(thing.mask, y, x)] = thing.mask
            left = masks & ~full
            if np.all(left.sum(axis=(1, 2)) >= _MIN_VISIBLE * np.array(areas)):
                paint(thing, y, x)
                placed.append(thing)
                masks = np.concatenate([left, full[None]])
                areas.append(int(full.sum()))
                break
    return placed, masks
