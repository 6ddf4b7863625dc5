"""Images in memory become what the libraries read from the same image's file."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mmdwnet.apis.sources import to_bgr
from mmdwnet.errors import UserError

RGB = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)


@pytest.mark.parametrize('mode', ['1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'I;16'])
def test_pil_images_of_any_mode(mode: str, tmp_path: Path) -> None:
    if mode == 'I;16':
        image = Image.fromarray(RGB[..., 0].astype(np.uint16) * 257 - RGB[..., 1])
    else:
        image = Image.fromarray(RGB).convert(mode)
    image.save(tmp_path / 'x.png')
    np.testing.assert_array_equal(to_bgr(image), cv2.imread(str(tmp_path / 'x.png')))


def test_photos_are_turned_as_cameras_say(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(RGB).save(tmp_path / 'x.png', exif=exif)
    image = to_bgr(Image.open(tmp_path / 'x.png'))
    np.testing.assert_array_equal(image, np.rot90(RGB, -1)[..., ::-1])


def test_arrays() -> None:
    gray = RGB[..., 0]
    np.testing.assert_array_equal(to_bgr(RGB), RGB)
    np.testing.assert_array_equal(to_bgr(np.dstack([RGB, gray])), RGB)
    for given in (gray, gray[..., None]):
        np.testing.assert_array_equal(to_bgr(given), np.dstack([gray] * 3))


@pytest.mark.parametrize(
    'array', [RGB / 255, RGB[None], RGB[..., :2], RGB[:0], RGB.astype(np.uint16), np.uint8(3)]
)
def test_arrays_that_are_no_images(array: np.ndarray) -> None:
    with pytest.raises(UserError, match=r'^an array of \w+ in shape \(.*\) is not an image'):
        to_bgr(np.asarray(array))
