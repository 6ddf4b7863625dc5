"""Small data sets with odd samples: bad ones, and ones that only look bad."""

import io
import json
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

SPLITS = {'train': ('train2017', 'training'), 'val': ('val2017', 'validation')}
DIGITS = ('zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine')
WIDTH, HEIGHT = 64, 48


@dataclass(frozen=True)
class Kind:
    """A kind of sample.

    Args:
        name: Its name, also of its files.
        fault: What is said about it if it is bad.
        image: Makes the image file; None for a link to a file that is not there.
        annotation: Changes of its COCO annotation, or a function that changes it.
        label_map: Makes the label map's file.
        told: Whether the fault belongs to no image, so that no image is skipped.
    """

    name: str
    fault: str | None = None
    image: Callable[[], bytes | None] | None = None
    annotation: Callable[[dict, dict], None] | None = None
    label_map: Callable[[], bytes | None] | None = None
    told: bool = False


def picture(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (9, 9), 0)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def jpeg(mode: str = 'RGB', **options: object) -> bytes:
    return saved(Image.fromarray(picture()).convert(mode), 'JPEG', quality=95, **options)


def png(mode: str = 'RGB') -> bytes:
    return saved(Image.fromarray(picture()).convert(mode), 'PNG')


def rotated() -> bytes:
    """A JPEG that is stored lying, and shown upright by its EXIF."""
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = Image.fromarray(np.rot90(picture()).copy())
    return saved(lying, 'JPEG', exif=exif)


def bomb(width: int, height: int, data: bytes = b'') -> bytes:
    """A PNG with a header of any size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack('>I', zlib.crc32(kind + content))
        return struct.pack('>I', len(content)) + kind + content + check

    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    packed = zlib.compress(data or bytes(1000), 9)
    return (
        b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', packed) + chunk(b'IEND', b'')
    )


def jpeg_bomb() -> bytes:
    """A JPEG that claims 65500 x 65500 pixels."""
    data = jpeg()
    frame = data.index(b'\xff\xc0') + 5
    return data[:frame] + struct.pack('>HH', 65500, 65500) + data[frame + 4 :]


def damaged() -> bytes:
    data = bytearray(png())
    middle = len(data) // 2
    data[middle : middle + 20] = bytes(20)
    return bytes(data)


IMAGES = [
    Kind('empty', 'is empty', lambda: b''),
    Kind('text', 'is not an image', lambda: b'<html>404 Not Found</html>'),
    Kind('half a jpeg', 'is truncated', lambda: jpeg()[: len(jpeg()) // 2]),
    Kind('progressive half', 'is truncated', lambda: jpeg(progressive=True)[:-400]),
    Kind('head of a jpeg', 'is truncated', lambda: jpeg()[:30]),
    Kind('half a png', 'is truncated', lambda: png()[: len(png()) // 2]),
    Kind('damaged png', 'is damaged', damaged),
    Kind('zeros', 'is not an image', lambda: bytes(1000)),
    Kind('png bomb', 'claims 50000 x 50000 pixels', lambda: bomb(50000, 50000)),
    Kind('smaller bomb', 'claims 30000 x 30000 pixels', lambda: bomb(30000, 30000)),
    Kind('negative size', 'claims 4294967295 x', lambda: bomb(2**32 - 1, 2**31)),
    Kind('jpeg bomb', 'claims 65500 x 65500 pixels', jpeg_bomb),
    Kind('cmyk', image=lambda: jpeg('CMYK')),
    Kind('gray', image=lambda: jpeg('L')),
    Kind('progressive', image=lambda: jpeg(progressive=True)),
    Kind('palette', image=lambda: png('P')),
    Kind('alpha', image=lambda: png('RGBA')),
    Kind('gray with alpha', image=lambda: png('LA')),
    Kind('one bit', image=lambda: png('1')),
    Kind(
        'sixteen bits',
        image=lambda: cv2.imencode('.png', picture().astype('u2') * 257)[1].tobytes(),
    ),
    Kind('jpeg and more', image=lambda: jpeg() + b'from my camera' * 9),
    Kind('png and more', image=lambda: png() + bytes(9)),
    Kind('lying', image=rotated),
    Kind('Übung 数字 é', image=jpeg),
]


def changed(**values: object) -> Callable[[dict, dict], None]:
    """Set values in the first annotation of an image."""
    return lambda image, content: of(image, content)[0].update(values)


def of(image: dict, content: dict) -> list[dict]:
    return [one for one in content['annotations'] if one['image_id'] == image['id']]


def without(key: str) -> Callable[[dict, dict], None]:
    return lambda image, content: of(image, content)[0].pop(key)


def drop(image: dict, content: dict) -> None:
    content['annotations'] = [
        one for one in content['annotations'] if one['image_id'] != image['id']
    ]


def doubled(image: dict, content: dict) -> None:
    content['annotations'].append({**of(image, content)[0]})


def crowd(image: dict, content: dict) -> None:
    for one in of(image, content):
        mask = np.zeros((HEIGHT, WIDTH), np.uint8, order='F')
        mask[10:30, 10:30] = 1
        rle = coco_mask.encode(mask)
        one.update(iscrowd=1, segmentation={'size': rle['size'], 'counts': rle['counts'].decode()})


def lost(image: dict, content: dict) -> None:
    first = of(image, content)[0]
    content['annotations'].append({**first, 'id': 10**6, 'image_id': 'nowhere'})


def rle(**values: object) -> dict:
    return {'size': [HEIGHT, WIDTH], 'counts': [0, HEIGHT * WIDTH], **values}


NAN, INFINITY = float('nan'), float('inf')
ANNOTATIONS = [
    # Other data sets list the files that are there.
    Kind('missing', 'does not exist', lambda: None),
    Kind('box of nan', 'has the box [nan', annotation=changed(bbox=[NAN, 1, 20, 20])),
    Kind('endless box', 'has the box [1, 1, inf', annotation=changed(bbox=[1, 1, INFINITY, 20])),
    Kind('huge number', 'has the box', annotation=changed(bbox=[1, 1, 10**400, 20])),
    Kind('box of texts', "has the box ['1'", annotation=changed(bbox=['1', '1', '20', '20'])),
    Kind('box of three', 'not four finite numbers', annotation=changed(bbox=[1, 1, 20])),
    Kind('no box', 'has the box None', annotation=without('bbox')),
    Kind('no area', 'has the area None', annotation=without('area')),
    Kind('unknown category', 'has the category 99', annotation=changed(category_id=99)),
    Kind('odd category', 'has the category [1]', annotation=changed(category_id=[1])),
    Kind('two of one id', 'of another', annotation=doubled),
    Kind('lost annotation', "is of the image 'nowhere'", annotation=lost, told=True),
    Kind(
        'other size',
        'but its annotation says 48 x 64',
        annotation=lambda i, _: i.update(width=48, height=64),
    ),
    Kind(
        'huge size',
        'but its annotation says',
        annotation=lambda i, _: i.update(width=10**9, height=10**9),
    ),
    Kind(
        'far polygon', 'mask is neither', annotation=changed(segmentation=[[1, 1, 1e12, 1, 1, 20]])
    ),
    Kind(
        'polygon of nan',
        'mask is neither',
        annotation=changed(segmentation=[[1, 1, NAN, 1, 1, 20]]),
    ),
    Kind('polygon of texts', 'mask is neither', annotation=changed(segmentation=[['1'] * 6])),
    Kind(
        'mask of other size',
        'mask has the size',
        annotation=changed(segmentation=rle(size=[10**6, 10**6])),
    ),
    Kind(
        'mask of nonsense',
        'cannot be decoded',
        annotation=changed(segmentation=rle(counts='oooo1oooo1')),
    ),
    Kind(
        'short mask',
        'counts that are not of 3072',
        annotation=changed(segmentation=rle(counts=[5])),
    ),
    Kind('box outside', annotation=changed(bbox=[100, 100, 20, 20])),
    Kind('box partly outside', annotation=changed(bbox=[-5, -5, 30, 30])),
    Kind('zero area', annotation=changed(bbox=[5, 5, 0, 0], area=0)),
    Kind('crowd only', annotation=crowd),
    Kind('no boxes', annotation=drop),
]


def labels(dtype: str = 'u1') -> np.ndarray:
    return np.ones((HEIGHT, WIDTH), dtype)


def label_png(array: np.ndarray) -> bytes:
    return cv2.imencode('.png', array)[1].tobytes()


def with_label(label: int, dtype: str = 'u1') -> bytes:
    array = labels(dtype)
    array[3, 5] = label
    return label_png(array)


def palette_map() -> bytes:
    image = Image.fromarray(labels()).convert('P')
    image.putpalette([7] * 768)
    return saved(image, 'PNG')


LABEL_MAPS = [
    Kind('no map', 'does not exist', label_map=lambda: None),
    Kind('empty map', 'is empty', label_map=lambda: b''),
    Kind('text map', 'is not an image', label_map=lambda: b'label map'),
    Kind('half a map', 'is truncated', label_map=lambda: png('L')[:900]),
    Kind('map of other size', 'has 64 x 24 pixels', label_map=lambda: label_png(labels()[:24])),
    Kind('label beyond', 'has the label 12, but there are 11', label_map=lambda: with_label(12)),
    Kind('label far beyond', 'has the label 254', label_map=lambda: with_label(254)),
    Kind('wide label', 'has the label 300', label_map=lambda: with_label(300, 'u2')),
    Kind('map in 16 bits', label_map=lambda: with_label(11, 'u2')),
    Kind('unlabeled', label_map=lambda: label_png(labels() * 0)),
    Kind('ignored pixel', label_map=lambda: with_label(255)),
    Kind('map with palette', label_map=palette_map),
]
KINDS = {'cls': IMAGES, 'det': IMAGES + ANNOTATIONS, 'seg': IMAGES + LABEL_MAPS}
CONFIGS = Path(__file__).parents[1] / 'data' / 'digits'
CONFIG = {
    'cls': str(CONFIGS / 'dwnet_nano_digits.py'),
    'det': str(CONFIGS / 'cascade_mask_rcnn_dwnet_nano_digits.py'),
    'seg': str(CONFIGS / 'upernet_dwnet_nano_digits.py'),
}


def names(line: str, kind: Kind) -> bool:
    """Whether a line of output is about a sample."""
    return f'/{kind.name}.' in line or f'image {kind.name}.' in line


def make(root: Path, task: str, kinds: list[Kind], good: int = 10) -> dict[str, dict[str, Path]]:
    """Make a data set of good images and one of each kind, for training and validation.

    Returns:
        The odd files, by split and name of the kind.
    """
    all_kinds = [*(Kind(f'good {number}', image=jpeg) for number in range(good)), *kinds]
    write_files = {'cls': make_folders, 'det': make_coco, 'seg': make_ade}[task]
    found = {}
    for split in SPLITS:
        files = write_files(root, split, all_kinds)
        found[split] = {kind.name: files[kind.name] for kind in kinds}
    return found


def write(path: Path, make: Callable[[], bytes | None]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = make()
    if data is None:
        path.symlink_to('nowhere')
    else:
        path.write_bytes(data)


def make_folders(root: Path, split: str, kinds: list[Kind]) -> dict[str, Path]:
    files = {}
    for number, kind in enumerate(kinds):
        files[kind.name] = root / split / str(number % 10) / f'{kind.name}.jpg'
        write(files[kind.name], kind.image or jpeg)
    return files


def make_coco(root: Path, split: str, kinds: list[Kind]) -> dict[str, Path]:
    files = {}
    categories = [{'id': number + 1, 'name': name} for number, name in enumerate(DIGITS)]
    content: dict = {'images': [], 'annotations': [], 'categories': categories}
    for number, kind in enumerate(kinds):
        files[kind.name] = root / SPLITS[split][0] / f'{kind.name}.jpg'
        write(files[kind.name], kind.image or jpeg)
        image = {'id': number, 'file_name': files[kind.name].name, 'width': WIDTH, 'height': HEIGHT}
        content['images'].append(image)
        content['annotations'].append(
            {
                'id': number,
                'image_id': number,
                'category_id': number % 10 + 1,
                'bbox': [8, 8, 24, 24],
                'area': 576,
                'segmentation': [[8, 8, 32, 8, 32, 32, 8, 32]],
                'iscrowd': 0,
            }
        )
        if kind.annotation is not None:
            kind.annotation(image, content)
    path = root / 'annotations' / f'instances_{SPLITS[split][0]}.json'
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))
    return files


def make_ade(root: Path, split: str, kinds: list[Kind]) -> dict[str, Path]:
    files = {}
    for kind in kinds:
        image = root / 'images' / SPLITS[split][1] / f'{kind.name}.jpg'
        label_map = root / 'annotations' / SPLITS[split][1] / f'{kind.name}.png'
        write(image, kind.image or jpeg)
        write(label_map, kind.label_map or (lambda: label_png(labels())))
        files[kind.name] = label_map if kind.label_map else image
    return files
