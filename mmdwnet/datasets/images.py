"""What can be wrong with an image file."""

import io
import os
from contextlib import suppress

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

# How whole files begin and end, and what reads their headers without decoding.
_FORMATS = (
    (b'\xff\xd8\xff', b'\xff\xd9', JpegImageFile),
    (b'\x89PNG', b'IEND\xaeB`\x82', PngImageFile),
)
_TAIL = 8  # bytes
# Photographs have 2 to 10 pixels per byte. Small images may have more: they fit in memory.
_MOST_PIXELS_PER_BYTE = 100
_SMALL = 2**26  # pixels


def find_flaw(path: str) -> str | None:
    """Return what is wrong with a local image that decoders accept, or try to; None if nothing.

    Some versions of OpenCV return a truncated image half gray, without an error, and all allocate
    whatever size a header claims. This takes a fraction of the time of decoding.

    Args:
        path: The file. One that is not local, not there, or of a format other than JPEG and PNG is
            left to the decoder.
    """
    try:
        with open(path, 'rb') as file:
            head = file.read(4)
            for begins, ends, header in _FORMATS:
                if not head.startswith(begins):
                    continue
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - _TAIL))
                whole = file.read().endswith(ends)
                file.seek(0)
                # Broken headers are left to the decoder, too.
                with suppress(Exception):
                    width, height = header(file).size
                    if width * height > max(_SMALL, _MOST_PIXELS_PER_BYTE * size):
                        return f'claims {width} x {height} pixels, but has only {size} bytes'
                if not whole:  # or something follows its end, which is no fault
                    return _truncation(path)
    except OSError:
        pass
    return None


def find_wide_label(path: str) -> int | None:
    """Return the highest label of a local label map if it does not fit into 8 bits, else None."""
    try:
        with Image.open(path) as image:
            highest = image.getextrema()[1] if image.mode.startswith('I') else 0
    except Exception:  # left to the decoder
        return None
    return highest if highest > 255 else None


def explain_failure(path: str, backend_args: dict | None, decoder: str) -> str | None:
    """Return why an image could not be loaded, or None if it can be.

    Args:
        path: The file.
        backend_args: As for mmengine's file backends.
        decoder: As for mmcv.
    """
    import mmcv  # importing these imports this package
    from mmengine import fileio

    try:
        content = fileio.get(path, backend_args)
    except FileNotFoundError:
        return 'does not exist'
    except Exception as error:  # whatever the backend raises
        return f'cannot be read ({getattr(error, "strerror", None) or error})'
    if not content:
        return 'is empty'
    try:
        if mmcv.imfrombytes(content, flag='unchanged', backend=decoder) is not None:
            return None
    except Exception as error:  # decoders raise whatever the bytes happen to lead to
        if 'pixels' in str(error).lower():
            return 'has too many pixels'
    return _truncation(io.BytesIO(content)) or 'is damaged'


def _truncation(file: str | io.BytesIO) -> str | None:
    """Return what Pillow, which tells more than OpenCV, finds wrong in an image."""
    try:
        with Image.open(file) as image:
            image.load()
    except Image.UnidentifiedImageError:
        return 'is not an image'
    except Image.DecompressionBombError:
        return 'has too many pixels'
    except Exception as error:
        return 'is truncated' if 'runcated' in str(error) else 'is damaged'
    return None
