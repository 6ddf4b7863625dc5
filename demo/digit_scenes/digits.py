"""Handwritten digits: the split into training and validation, and masks of any size and pose."""

from dataclasses import dataclass
from functools import cache, lru_cache

import cv2
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

VAL_FRACTION = 0.2
# The 8x8 images are enlarged by this factor before they are posed, so that strokes are smooth.
_UPSCALE = 12
_INK = 0.45  # pixels above this value belong to the digit
_SPECK = 0.08  # of the digit's area: smaller separate parts are removed
_MAX_ROTATION = 12.0  # degrees
_MAX_SHEAR = 0.08
_MAX_STRETCH = 0.1


@dataclass(frozen=True)
class Stamp:
    """A posed digit, cut to its box.

    Attributes:
        digit: Index into `load_digits()`.
        alpha: float32 (h, w), opacity in [0, 1] with smooth edges.
        mask: bool (h, w), the digit's pixels; it touches all four sides.
    """

    digit: int
    alpha: np.ndarray
    mask: np.ndarray


@cache
def labels() -> np.ndarray:
    """Return the classes of scikit-learn's digits, int (1797,)."""
    return load_digits().target


@cache
def split_digits(seed: int) -> dict[str, np.ndarray]:
    """Split scikit-learn's digits into training and validation, stratified by class.

    Args:
        seed: Seed of the split.

    Returns:
        Ascending, disjoint indices into `load_digits()` under 'train' and 'val'.
    """
    every = np.arange(len(labels()))
    train, val = train_test_split(
        every, test_size=VAL_FRACTION, stratify=labels(), random_state=seed
    )
    return {'train': np.sort(train), 'val': np.sort(val)}


@cache
def _images() -> np.ndarray:
    return (load_digits().images / 16).astype(np.float32)


@lru_cache(maxsize=1)  # the images of one digit are drawn one after another
def _smooth(index: int) -> np.ndarray:
    """Return the digit enlarged by `_UPSCALE`, float32, with a margin of zeros."""
    ink = np.pad(_images()[index], 3)
    # Sharpening keeps faint strokes connected and small loops open.
    ink += 1.5 * (ink - cv2.GaussianBlur(ink, (0, 0), 1.5))
    ink = cv2.resize(ink, None, fx=_UPSCALE, fy=_UPSCALE, interpolation=cv2.INTER_CUBIC)
    ink = cv2.GaussianBlur(ink, (0, 0), 0.25 * _UPSCALE)

    _, parts, stats, _ = cv2.connectedComponentsWithStats((ink > _INK).astype(np.uint8))
    areas = stats[:, cv2.CC_STAT_AREA]
    specks = [part for part in range(1, len(areas)) if areas[part] < _SPECK * areas[1:].sum()]
    speck = np.isin(parts, specks).astype(np.uint8)
    ink[cv2.dilate(speck, np.ones((5, 5), np.uint8)) > 0] = 0
    return ink


def stamp(index: int, size: float, rng: np.random.Generator) -> Stamp:
    """Rotate, shear and stretch a digit a little.

    Args:
        index: Index into `load_digits()`.
        size: Longer side of the posed digit's box in pixels; the result may be slightly smaller.
        rng: Random generator for the pose.

    Returns:
        The posed digit.
    """
    ink = _smooth(index)
    angle = np.deg2rad(rng.uniform(-_MAX_ROTATION, _MAX_ROTATION))
    shear = rng.uniform(-_MAX_SHEAR, _MAX_SHEAR)
    stretch = 1 + rng.uniform(-_MAX_STRETCH, _MAX_STRETCH)
    cos, sin = np.cos(angle), np.sin(angle)
    pose = np.array([[cos, -sin], [sin, cos]]) @ np.array([[stretch, shear], [0, 1]])

    ys, xs = np.nonzero(ink > _INK)
    corners = pose @ np.stack([xs, ys])
    low, high = corners.min(axis=1), corners.max(axis=1)
    # One and a half source pixels on each side make room for interpolation.
    scale = (size - 1) / ((high - low).max() + 3)
    margin = 2
    matrix = np.hstack([pose * scale, (margin - low * scale)[:, None]])
    width, height = (np.ceil((high - low) * scale) + 2 * margin).astype(int)
    posed = cv2.warpAffine(ink, matrix, (int(width), int(height)), flags=cv2.INTER_LINEAR)

    mask = posed > _INK
    rows, columns = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    # The edge is about one and a half pixels wide at any size.
    alpha = np.clip((posed - _INK) * scale * _UPSCALE + 0.5, 0, 1)
    return Stamp(index, alpha[box], mask[box])
