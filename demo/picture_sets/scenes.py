"""Scenes of drawings on crops of wallpapers."""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from mmdwnet.errors import UserError

from ..arranging import arrange, box
from .drawings import FOLDERS, Drawing

# Wallpapers in which nothing looks like the drawings.
WALLPAPERS = {
    'train': (
        *('Autumn', 'BytheWater', 'ColdRipple', 'ColorfulCups', 'EveningGlow', 'FallenLeaf'),
        *('Flow', 'Grey', 'Honeywave', 'OneStandsOut', 'PastelHills', 'Path'),
    ),
    'val': ('DarkestHour', 'Kite', 'Shell', 'Volna', 'summer_1am'),
}
SIZE = 192  # of a scene's sides, in pixels
_MAX_DRAWINGS = 4
_DRAWING_SIDES = (48, 96)  # in pixels
_CROP = (0.5, 1.0)  # of the wallpaper's shorter side
_SHADOW = 0.4


class Scene(NamedTuple):
    """An image, RGB, uint8 (size, size, 3), and the visible masks of objects, bool (n, ...)."""

    image: np.ndarray
    labels: list[int]
    masks: np.ndarray


def draw_scene(
    wallpapers: Path, split: str, drawings: list[Drawing], rng: np.random.Generator
) -> Scene:
    """Draw one scene of one or more drawings, which may overlap.

    Args:
        wallpapers: The folder of the wallpapers' package.
        split: 'train' or 'val'; each has its own wallpapers.
        drawings: Those to choose from.
        rng: Random generator for everything in it.

    Returns:
        The scene.
    """
    canvas = _ground(wallpapers / str(rng.choice(WALLPAPERS[split])), rng)

    def propose() -> Drawing:
        # First a class: all are as frequent, whatever the number of their drawings.
        label = rng.integers(len(FOLDERS))
        some = [drawing for drawing in drawings if drawing.label == label]
        return some[rng.integers(len(some))].posed(rng.uniform(*_DRAWING_SIDES), rng)

    def paint(drawing: Drawing, y: int, x: int) -> None:
        where = box(drawing.mask, y, x)
        alpha = np.zeros((SIZE, SIZE, 1), np.float32)
        alpha[where] = np.asarray(drawing.image.getchannel('A'))[..., None] / 255
        canvas[:] *= 1 - _SHADOW * cv2.GaussianBlur(alpha, (0, 0), SIZE / 60)[..., None]
        canvas[where] += alpha[where] * (np.asarray(drawing.image)[..., :3] - canvas[where])

    count = int(rng.integers(1, _MAX_DRAWINGS + 1))
    placed, masks = arrange(SIZE, count, propose, paint, rng)
    image = np.clip(np.rint(canvas), 0, 255).astype(np.uint8)
    return Scene(image, [drawing.label for drawing in placed], masks)


def _ground(folder: Path, rng: np.random.Generator) -> np.ndarray:
    """Return a crop of a wallpaper, float32 (size, size, 3) in [0, 255]."""
    picture = _wallpaper(folder)
    side = int(min(picture.shape[:2]) * rng.uniform(*_CROP))
    y, x = (int(rng.integers(0, length - side + 1)) for length in picture.shape[:2])
    crop = picture[y : y + side, x : x + side]
    return cv2.resize(crop, (SIZE, SIZE), interpolation=cv2.INTER_AREA).astype(np.float32)


@cache
def _wallpaper(folder: Path) -> np.ndarray:
    """Return the largest JPEG file of a wallpaper at a quarter of its size, RGB."""
    files = sorted(folder.glob('contents/images/*.jpg'), key=lambda file: file.stat().st_size)
    picture = cv2.imread(str(files[-1]), cv2.IMREAD_REDUCED_COLOR_4) if files else None
    if picture is None:
        raise UserError(
            f'picture sets: {folder} has no readable contents/images/*.jpg; install it again with '
            'apt-get install --reinstall plasma-workspace-wallpapers'
        )
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
