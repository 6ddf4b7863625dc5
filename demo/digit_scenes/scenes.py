"""Images of digits on a background, with the visible mask of every digit."""

from dataclasses import dataclass

import cv2
import numpy as np

from ..arranging import arrange, box, spot
from .digits import Stamp, labels, split_digits, stamp
from .grounds import ground
from .options import DigitSceneOptions

_COLORS = 32
_CONTRAST = 52.0  # least distance in CIELAB of a digit's color from its surroundings
_LAB_WEIGHTS = (1.4, 0.7, 0.7)  # differences in lightness show shapes better than in hue
# Digits are always lighter than the background: with both polarities, a small network would need
# many times the training.
_LIGHTNESS_CHROMA_HUE = ((66, 25, 0), (94, 75, 2 * np.pi))
_SPLITS = ('train', 'val')


@dataclass(frozen=True)
class Scene:
    """An image and the digits in it.

    Attributes:
        image: RGB, uint8 (size, size, 3).
        digits: Index into `load_digits()` of each digit, in drawing order.
        labels: Class of each digit.
        masks: bool (digits, size, size), the visible part of each digit; masks do not overlap.
    """

    image: np.ndarray
    digits: list[int]
    labels: list[int]
    masks: np.ndarray


def single_digit(options: DigitSceneOptions, split: str, digit: int, repeat: int) -> np.ndarray:
    """Draw one digit for classification.

    Args:
        options: Sizes and seed.
        split: 'train' or 'val'.
        digit: Index into `load_digits()`.
        repeat: Number of the image among those of this digit.

    Returns:
        RGB image, uint8 (cls_size, cls_size, 3).
    """
    rng = np.random.default_rng([options.seed, 0, _SPLITS.index(split), digit, repeat])
    canvas = ground(options.cls_size, split, rng)
    posed = stamp(digit, options.cls_size * rng.uniform(0.6, 0.9), rng)
    _paint(canvas, posed, *spot(options.cls_size, posed.mask, rng), rng)
    return _as_bytes(canvas)


def scene(options: DigitSceneOptions, split: str, index: int) -> Scene:
    """Draw one scene of one or more digits, which may overlap.

    Args:
        options: Sizes and seed.
        split: 'train' or 'val'; all digits come from this split.
        index: Number of the scene within its split.

    Returns:
        The scene.
    """
    rng = np.random.default_rng([options.seed, 1, _SPLITS.index(split), index])
    size = options.scene_size
    canvas = ground(size, split, rng)
    source = split_digits(options.seed)[split]

    def propose() -> Stamp:
        digit = int(rng.choice(source))
        return stamp(digit, rng.uniform(options.min_digit_size, options.max_digit_size), rng)

    def paint(posed: Stamp, y: int, x: int) -> None:
        _paint(canvas, posed, y, x, rng)

    count = int(rng.integers(1, options.max_digits + 1))
    placed, masks = arrange(size, count, propose, paint, rng)
    digits = [posed.digit for posed in placed]
    return Scene(_as_bytes(canvas), digits, [int(labels()[d]) for d in digits], masks)


def _paint(canvas: np.ndarray, posed: Stamp, y: int, x: int, rng: np.random.Generator) -> None:
    """Draw a digit with a soft shadow into `canvas`, float32 (size, size, 3), in place."""
    alpha = np.zeros(canvas.shape[:2], np.float32)
    alpha[box(posed.mask, y, x)] = posed.alpha
    near = cv2.GaussianBlur(alpha, (0, 0), max(posed.mask.shape) / 25)
    color = _color(canvas[near > 0.05], rng)
    canvas *= 1 - rng.uniform(0.2, 0.5) * near[..., None]
    shade = np.linspace(1.08, 0.92, len(canvas), dtype=np.float32)[:, None, None]
    canvas += alpha[..., None] * (np.minimum(color * shade, 255) - canvas)


def _color(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Pick a color that stands out.

    Args:
        pixels: RGB of the pixels under and around the digit, float32 (n, 3) in [0, 255].
        rng: Random generator for the candidates.

    Returns:
        The first candidate that is far enough from nearly all pixels, or else the farthest one;
        RGB, float32 (3,) in [0, 255].
    """
    lightness, chroma, hue = rng.uniform(*_LIGHTNESS_CHROMA_HUE, (_COLORS, 3)).T
    lab = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], axis=1)
    candidates = np.clip(cv2.cvtColor(lab[None].astype(np.float32), cv2.COLOR_LAB2RGB), 0, 1)
    some = np.ascontiguousarray(pixels[None, :: max(1, len(pixels) // 256)]) / 255
    gaps = cv2.cvtColor(candidates, cv2.COLOR_RGB2LAB)[0][:, None] - cv2.cvtColor(
        some, cv2.COLOR_RGB2LAB
    )
    contrast = np.percentile(np.linalg.norm(gaps * _LAB_WEIGHTS, axis=2), 5, axis=1)
    enough = np.nonzero(contrast >= _CONTRAST)[0]
    return candidates[0, enough[0] if len(enough) else contrast.argmax()] * 255


def _as_bytes(canvas: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)
