"""Small pictures of truth and predictions, drawn over the image."""

import base64
from collections.abc import Sequence
from io import BytesIO

import matplotlib
import mmcv
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks


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
        image = mmcv.imrescale(image, (side, side), interpolation='area')
    else:
        image = mmcv.imrescale(image, int(factor), interpolation='nearest')
    return torch.from_numpy(image).permute(2, 0, 1)


def draw(image: Tensor, colors: list, masks: Tensor | None, boxes: Tensor | None) -> Tensor:
    """Draw objects or regions over an image.

    Args:
        image: RGB, uint8 of shape (3, H, W).
        colors: Of the N objects.
        masks: Bool of shape (N, H, W), or None.
        boxes: x1, y1, x2, y2 in pixels, of shape (N, 4), or None.

    Returns:
        A new image of the same shape.
    """
    if colors and masks is not None:
        image = draw_segmentation_masks(image, masks, alpha=0.55, colors=colors)
    if colors and boxes is not None:
        image = draw_bounding_boxes(image, boxes, colors=colors, width=2)
    return image


def encode(image: Tensor) -> str:
    """Return an RGB image of shape (3, H, W) as a JPEG file in base64."""
    file = BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, 'JPEG', quality=85)
    return base64.b64encode(file.getvalue()).decode()
