"""What the headers of many images say, read in parallel."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from mmdwnet.datasets.images import explain_failure, find_flaw

_THREADS = 16  # which wait for the disk, not for the processor
_ORIENTATION = 0x0112  # in EXIF; from 5 on, the image is turned by 90 degrees
_MOST_PIXELS = 2**30  # that OpenCV reads


def read_headers(paths: Iterable[Path]) -> dict[Path, tuple[tuple[int, int], str] | str]:
    """Read the headers of images.

    Args:
        paths: Of the files.

    Returns:
        For each file the width and height of the image as it is loaded, and what is lost then, or
        ''. For one that is at fault a text that says why.
    """
    found = list(dict.fromkeys(paths))
    most, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # as nothing is decoded
    try:
        with ThreadPoolExecutor(_THREADS) as pool:
            return dict(zip(found, pool.map(_read, found), strict=True))
    finally:
        Image.MAX_IMAGE_PIXELS = most


def _read(path: Path) -> tuple[tuple[int, int], str] | str:
    if flaw := find_flaw(str(path)):
        return flaw
    try:
        with Image.open(path) as image:
            width, height = image.size
            remark = ''
            if image.mode.startswith(('I', 'F')):
                remark = 'of more than 8 bits, which are loaded as 8 bits'
            elif image.has_transparency_data:
                remark = 'with transparency, which is dropped: the colors beneath it are loaded'
            # PNG's own method would decode the image, to look behind it.
            if Image.Image.getexif(image).get(_ORIENTATION, 1) > 4:
                width, height = height, width  # as OpenCV turns it
    except Exception:  # whatever the bytes happen to lead to
        return explain_failure(str(path), None, 'cv2') or 'is not read by Pillow'
    if width * height > _MOST_PIXELS:
        return f'has {width} x {height} pixels, of which OpenCV reads at most 2**30'
    return (width, height), remark
