"""Images from wherever users have them: files, folders, addresses, arrays, PIL images."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
from mmengine import fileio
from mmengine.utils import scandir
from PIL import Image, ImageOps

from mmdwnet.datasets.images import explain_failure, find_flaw
from mmdwnet.errors import DataError, UserError

SUFFIXES = ('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif', '.tiff', '.webp')


@dataclass(frozen=True, eq=False)
class Source:
    """An image to predict for.

    Attributes:
        path: Its path or address; None for one in memory.
        pixels: Array (H, W, 3), uint8, BGR; None for one that is in a file.
    """

    path: str | None
    pixels: np.ndarray | None = None

    def read(self) -> np.ndarray:
        """Return the pixels; raise a DataError if the file or address cannot be read."""
        if self.pixels is not None:
            return self.pixels
        with naming(self.path):
            pixels = mmcv.imfrombytes(fileio.get(self.path))
            if pixels is None:
                raise ValueError(f'OpenCV cannot decode {self.path}')
        return pixels


@contextmanager
def naming(path: str | None) -> Iterator[None]:
    """Raise a DataError that names an image if it is the reason why reading it fails."""
    why = find_flaw(path) if path else None
    try:
        if why:
            raise ValueError(why)
        yield
    except Exception as error:  # decoders raise whatever the bytes happen to lead to
        why = why or (path and explain_failure(path, None, 'cv2'))
        if not why:
            raise
        raise DataError(f'the image {path} {why}: replace it, or leave it out') from error


def find_images(images: Any) -> Iterator[Source]:
    """Find all images that are meant; files and addresses are not read yet.

    Args:
        images: A file; a folder, whose images are taken with those of its folders, by name; an
            address; an array or PIL image, as for `to_bgr`; a `Source`; or several of these.

    Raises:
        UserError: There is no such file or folder, a folder has no images, or something else is
            given.
    """
    if isinstance(images, Source):
        yield images
    elif isinstance(images, np.ndarray | Image.Image):
        yield Source(None, to_bgr(images))
    elif isinstance(images, str | PathLike):
        path = str(images)
        if Path(path).is_dir():
            found = sorted(scandir(path, SUFFIXES, recursive=True, case_sensitive=False))
            if not found:
                raise UserError(
                    f'the folder {path} has no images ({", ".join(SUFFIXES)}): name another'
                )
            yield from (Source(str(Path(path, name))) for name in found)
        elif '://' in path or Path(path).is_file():
            yield Source(path)
        else:
            raise UserError(f'no image or folder at {path}: name one that exists')
    elif isinstance(images, Iterable):
        for each in images:
            yield from find_images(each)
    else:
        raise UserError(
            f'{type(images).__name__} is not an image: give a path, an address, a uint8 array, a '
            'PIL image, or several of these'
        )


def to_bgr(image: np.ndarray | Image.Image) -> np.ndarray:
    """Convert an image in memory to what the libraries read from a file.

    Args:
        image: An array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of uint8 in OpenCV's order BGR, as
            OpenMMLab takes it; or a PIL image of any mode. Alpha is dropped.

    Returns:
        The array (H, W, 3), uint8, BGR.

    Raises:
        UserError: It is neither.
    """
    if isinstance(image, Image.Image):
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith('I'):  # 16 bits, of which OpenCV takes the upper 8
            return mmcv.gray2bgr((np.asarray(image) >> 8).astype(np.uint8))
        return np.asarray(image.convert('RGB'))[..., ::-1]
    channels = image.shape[2:] if image.ndim == 3 else None
    if image.dtype == np.uint8 and image.size:
        if image.ndim == 2 or channels == (1,):
            return mmcv.gray2bgr(image)
        if channels in ((3,), (4,)):
            return image[..., :3]
    raise UserError(
        f'an array of {image.dtype} in shape {image.shape} is not an image: give uint8 from 0 to '
        '255, (H, W, 3) in BGR or (H, W) in gray'
    )
