"""Small folders that look like those of the Debian packages, and a set that is made from them."""

import shutil
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw

from demo.picture_sets import PictureSetOptions, make_picture_sets
from demo.picture_sets.drawings import FOLDERS
from demo.picture_sets.scenes import WALLPAPERS


def _write_drawing(path, size, box, shade):
    image = Image.new('RGBA', size)
    ImageDraw.Draw(image).ellipse(box, (*shade, 255))
    image.save(path)


def _write_clipart(folder):
    for label, name in enumerate(FOLDERS.values()):
        (folder / name).mkdir(parents=True)
        for number in range(8):
            shade = (40 * label, 30 * number, 200)
            _write_drawing(folder / name / f'{number}.png', (120, 90), (10, 10, 100, 80), shade)
    unsuitable = folder / FOLDERS['house']
    _write_drawing(unsuitable / 'small.png', (40, 40), (0, 0, 39, 39), (255, 0, 0))
    _write_drawing(unsuitable / '0_bw.png', (100, 100), (9, 9, 90, 90), (255, 0, 0))
    _write_drawing(unsuitable / 'nothing.png', (100, 100), (-9, -9, -1, -1), (255, 0, 0))
    Image.new('RGB', (100, 100), (255, 0, 0)).save(unsuitable / 'framed.png')
    # A poster's header alone tells that it is too large; the pixels are not here.
    header = struct.pack('>2I5B', 20000, 20000, 8, 6, 0, 0, 0)
    chunks = b''.join(
        struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
        for kind, data in ((b'IHDR', header), (b'IDAT', b''))
    )
    (unsuitable / 'poster.png').write_bytes(b'\x89PNG\r\n\x1a\n' + chunks)


def _write_wallpapers(folder):
    rng = np.random.default_rng(0)
    for number, name in enumerate(sorted({*WALLPAPERS['train'], *WALLPAPERS['val']})):
        images = folder / name / 'contents/images'
        images.mkdir(parents=True)
        for side in (80, 400):
            noise = rng.integers(0, 100, (side, 2 * side, 3), np.uint8) + np.uint8(number)
            cv2.imwrite(str(images / f'{2 * side}x{side}.jpg'), noise)


@pytest.fixture(scope='session')
def share(fashion, tmp_path_factory):
    folder = tmp_path_factory.mktemp('share')
    shutil.copytree(fashion, folder / 'datasets/fashion-mnist')
    _write_clipart(folder / 'openclipart/png')
    _write_wallpapers(folder / 'wallpapers')
    return folder


@pytest.fixture(scope='session')
def options(share):
    return PictureSetOptions(clothes=6, scenes=18, share=str(share))


@pytest.fixture(scope='session')
def made(options, tmp_path_factory):
    return make_picture_sets(tmp_path_factory.mktemp('made') / 'pictures', options)
