"""Drawings with transparency, sorted by class and split into training and validation."""

import re
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.model_selection import train_test_split

# Folders whose drawings mostly show one kind of thing.
FOLDERS = {
    'clock': 'signs_and_symbols/clocks',
    'fruit': 'food/fruit',
    'house': 'buildings/homes',
    'road sign': 'transportation/roadsigns',
    'smiley': 'people/smilies',
}
# Twins in black and white, and what is not fruit.
_LEFT_OUT = re.compile('_bw|grenade|juice|pie_|turkey')
_VAL_FRACTION = 0.25
_SIDE = 160  # in pixels; drawings are kept with this length of the longer side
_MIN_SIDE = 64  # below this, a drawing is too coarse
# Share of a drawing's box that is opaque: below it are outlines, above it are framed pictures.
_COVERAGE = (0.35, 0.95)
_MAX_ROTATION = 12.0  # degrees


@dataclass(frozen=True)
class Drawing:
    """A drawing.

    Attributes:
        label: Index into `FOLDERS`.
        image: RGBA, cut to its box.
    """

    label: int
    image: Image.Image

    @property
    def mask(self) -> np.ndarray:
        """Return the pixels that are more opaque than transparent, bool (h, w)."""
        return np.asarray(self.image.getchannel('A')) > 127

    def posed(self, side: float, rng: np.random.Generator) -> 'Drawing':
        """Return it rotated a little, with `side` pixels as the longer side of its box."""
        angle = rng.uniform(-_MAX_ROTATION, _MAX_ROTATION)
        image = self.image.rotate(angle, Image.Resampling.BICUBIC, expand=True)
        return replace(self, image=_resized(_cut(image), side))


def split_drawings(source: Path) -> dict[str, list[Drawing]]:
    """Read the drawings and split them, stratified by class.

    Args:
        source: The package's folder.

    Returns:
        The drawings of 'train' and 'val', which have none in common.
    """
    found = [
        Drawing(label, image)
        for label, folder in enumerate(FOLDERS.values())
        for path in sorted((source / folder).glob('*.png'))
        if not _LEFT_OUT.search(path.name) and (image := _read(path)) is not None
    ]
    labels = [drawing.label for drawing in found]
    train, val = train_test_split(found, test_size=_VAL_FRACTION, stratify=labels, random_state=0)
    return {'train': train, 'val': val}


def _read(path: Path) -> Image.Image | None:
    """Return the drawing at `path`, or None if it does not suit."""
    with warnings.catch_warnings():
        # Some are posters of hundreds of megapixels.
        warnings.simplefilter('error', Image.DecompressionBombWarning)
        try:
            image = _cut(Image.open(path).convert('RGBA'))
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            return None
    if max(image.size) < _MIN_SIDE:
        return None
    image = _resized(image, _SIDE)
    return image if _COVERAGE[0] <= Drawing(0, image).mask.mean() <= _COVERAGE[1] else None


def _cut(image: Image.Image) -> Image.Image:
    return image.crop(image.getchannel('A').point(lambda alpha: alpha > 127 and 255).getbbox())


def _resized(image: Image.Image, side: float) -> Image.Image:
    width, height = (max(1, int(length * side / max(image.size))) for length in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)
