"""Small pictures, and colors to draw into them."""

import base64
from collections.abc import Sequence
from io import BytesIO

import matplotlib
import mmcv
import numpy as np
import torch
from PIL import Image
from torch import Tensor


def class_colors(palette: Sequence | None, count: int) -> list[tuple[int, int, int]]:
    """Return a data set's own palette, or colors of different hues where it has none."""
    if not palette or len(palette) != count:  # COCO's is passed on to other classes
        hues = np.arange(count) * 0.618 % 1  # neighbors are far apart
        palette = (255 * matplotlib.colormaps['gist_rainbow'](hues)[:, :3]).astype(int).tolist()
    return [(int(red), int(green), int(blue)) for red, green, blue in palette[:count]]


def load_small(path: str, side: int) -> Tensor:
    """Read an image as the data sets do, and shrink or enlarge it so that it fits a square.

    Args:
        path: The image file.
        side: Of the square, in pixels. Images are enlarged by whole numbers.

    Returns:
        RGB, uint8 of shape (3, H, W).
    """
    image = mmcv.imread(path, channel_order='rgb')
    factor = side / max(image.shape[:2])
    if factor < 1:
        image = mmcv.imrescale(image, factor, interpolation='area')
    else:
        image = mmcv.imrescale(image, int(factor), interpolation='nearest')
    return torch.from_numpy(image).permute(2, 0, 1)


def encode(image: Tensor) -> str:
    """Return an RGB image of shape (3, H, W) as a JPEG file in base64."""
    file = BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, 'JPEG', quality=85)
    return base64.b64encode(file.getvalue()).decode()
