"""Backgrounds for the digits: drawn textures, and crops of scikit-learn's two photographs."""

from functools import cache

import cv2
import numpy as np
from sklearn.datasets import load_sample_image

_PHOTOS = ('china.jpg', 'flower.jpg')
_DUSK = 0.5  # factor on a photograph's brightness
_TRAIN_PART = 0.6  # of a photograph's width, from the left; the rest is for validation


def ground(size: int, split: str, rng: np.random.Generator) -> np.ndarray:
    """Draw a background.

    Args:
        size: Side in pixels.
        split: 'train' or 'val'; each uses its own part of the photographs.
        rng: Random generator for everything in it.

    Returns:
        RGB image, float32 (size, size, 3) in [0, 255].
    """
    if rng.random() < 0.4:
        picture = _photo(size, split, rng)
    else:
        texture = (_gradient, _clouds, _stripes, _tiles)[rng.integers(4)]
        weight = texture(size, rng)[..., None]
        first, second = _two_colors(rng)
        picture = first * (1 - weight) + second * weight
    grain = rng.normal(0, rng.uniform(1, 4), (size, size, 1))
    return np.clip(picture + grain, 0, 255).astype(np.float32)


@cache
def _part(name: str, split: str) -> np.ndarray:
    photo = load_sample_image(name)
    cut = int(photo.shape[1] * _TRAIN_PART)
    return photo[:, :cut] if split == 'train' else photo[:, cut:]


def _photo(size: int, split: str, rng: np.random.Generator) -> np.ndarray:
    part = _part(_PHOTOS[rng.integers(len(_PHOTOS))], split)
    side = int(rng.integers(96, min(part.shape[:2]) + 1))
    y, x = (int(rng.integers(0, length - side + 1)) for length in part.shape[:2])
    crop = part[y : y + side, x : x + side]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    crop = cv2.resize(np.ascontiguousarray(crop), (size, size), interpolation=cv2.INTER_AREA)
    crop = crop.astype(np.float32)
    # Less contrast and brightness, so that light colors stand out everywhere.
    return (crop.mean(axis=(0, 1)) * 0.3 + crop * 0.7) * _DUSK


def _two_colors(rng: np.random.Generator) -> np.ndarray:
    """Return two RGB colors of similar lightness, float (2, 3), so that a third can stand out."""
    lightness = rng.uniform(15, 45)
    lab = np.zeros((2, 1, 3), np.float32)
    lab[:, 0, 0] = np.clip(lightness + rng.uniform(5, 14) * np.array([-1, 1]), 5, 97)
    angle = rng.uniform(0, 2 * np.pi) + np.array([0, rng.uniform(-1, 1)])
    chroma = rng.uniform(4, 32, 2)
    lab[:, 0, 1], lab[:, 0, 2] = chroma * np.cos(angle), chroma * np.sin(angle)
    return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)[:, 0] * 255


def _along(size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return coordinates along and across a random direction, each (size, size) in [-1, 1]."""
    axis = np.linspace(-1, 1, size) / np.sqrt(2)
    angle = rng.uniform(0, 2 * np.pi)
    x, y = axis[None, :], axis[:, None]
    return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)


def _gradient(size: int, rng: np.random.Generator) -> np.ndarray:
    along, across = _along(size, rng)
    if rng.random() < 0.5:
        return (along + 1) / 2
    return np.clip(np.hypot(along - rng.uniform(-0.5, 0.5), across), 0, 1)


def _clouds(size: int, rng: np.random.Generator) -> np.ndarray:
    weight = np.zeros((size, size))
    for cells, height in ((3, 1.0), (6, 0.6), (12, 0.3)):
        knots = rng.uniform(-1, 1, (cells, cells))
        weight += height * cv2.resize(knots, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.clip(weight / 2 + 0.5, 0, 1)


def _stripes(size: int, rng: np.random.Generator) -> np.ndarray:
    along, across = _along(size, rng)
    bend = rng.uniform(0, 0.15) * np.sin(across * rng.uniform(2, 6))
    wave = np.sin((along + bend) * rng.uniform(8, 40))
    return np.clip(wave * rng.uniform(0.7, 4) + 0.5, 0, 1)


def _tiles(size: int, rng: np.random.Generator) -> np.ndarray:
    along, across = _along(size, rng)
    pitch = rng.uniform(8, 22)
    wave = np.sin(along * pitch) * np.sin(across * pitch)
    return np.clip(wave * rng.uniform(1, 8) + 0.5, 0, 1)
