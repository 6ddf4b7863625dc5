"""Images beside label maps: images whose pixels are classes, as indices or as colors."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from PIL import Image

from mmdwnet.errors import UserError
from mmdwnet.finetuning.found import Found, Sample
from mmdwnet.finetuning.source import Source, named

from .coco import BACKGROUND
from .palette import read_palette
from .voc import read_lists

IGNORED = 255  # the label of pixels that are not trained on
_GRAY = 0x010101
# Words in the names of folders and files. What is left of two paths tells what belongs together.
_MAPS = frozenset(
    (
        *('mask', 'masks', 'map', 'maps', 'label', 'labels', 'labelmaps', 'labelids', 'l'),
        *('ann', 'annotation', 'annotations', 'gt', 'gtfine', 'ground', 'truth', 'groundtruth'),
        *('seg', 'segmentation', 'segmentations', 'segmentationclass'),
    )
)
_IMAGES = frozenset(
    ('image', 'images', 'img', 'imgs', 'dir', 'jpegimages', 'leftimg8bit', 'photo', 'photos')
)


class _Pixels(NamedTuple):
    """What a label map holds: colors as 0xRRGGBB, and values as far as single numbers tell them."""

    size: tuple[int, int]
    colors: set[int]
    values: set[int] | None
    one_channel: bool


def read(source: Source) -> Found | None:
    """Return images and their label maps, or None if there are none.

    Raises:
        UserError: It cannot be told which class a pixel is of.
    """
    pairs = _pair(source)
    if not pairs:
        return None
    with ThreadPoolExecutor() as pool:
        surveys = list(pool.map(_survey, [path for _, path in pairs]))
    source.faults += [
        f'{path} {one}'
        for (_, path), one in zip(pairs, surveys, strict=True)
        if isinstance(one, str)
    ]
    maps = [one for one in surveys if isinstance(one, _Pixels)]
    names, palette = read_palette(source)
    label_of = {red << 16 | green << 8 | blue: at for at, (red, green, blue) in enumerate(palette)}
    colored = any(one.values is None for one in maps)
    if colored and not palette:
        raise UserError(
            f'the label maps have colors, and no file below {source.root} tells which class each '
            'is: put palette.txt there, with a line such as `road 128 64 128` for each class'
        )
    # Programs that shrink files may make indices of colors.
    if palette and (colored or all(one.colors <= label_of.keys() for one in maps)):
        colored = True
        if unknown := sorted(set().union(*(one.colors for one in maps)) - label_of.keys()):
            source.notes.append(
                'pixels of colors that are not in the palette are ignored: '
                + named(f'#{color:06x}' for color in unknown)
            )
    else:
        seen = set().union(*(one.values or () for one in maps))
        names, label_of = _name_values(source, seen, names)
    listed = read_lists(source, 'Segmentation')
    splits: dict[str, list[Sample]] = {}
    for (image, path), one in zip(pairs, surveys, strict=True):
        if isinstance(one, _Pixels):
            here = (one.colors if colored else one.values) or ()
            labels = frozenset(label_of[value] for value in here if value in label_of)
            split = listed.get(image.stem, '') if listed else source.split(image)
            splits.setdefault(split, []).append(Sample(image, one.size, map=path, labels=labels))
    usable = all(one.one_channel for one in maps) and all(k == v for k, v in label_of.items())
    return Found(
        'segment',
        f'images and label maps in {"colors" if colored else "indices"}',
        names,
        splits,
        colored=colored,
        values=None if usable and not colored else label_of,
        palette=palette if len(palette) == len(names) else None,
    )


def read_pixels(path: Path, colored: bool) -> np.ndarray:
    """Return the pixels of a label map.

    Args:
        path: The file.
        colored: Whether its colors are wanted, or its values.

    Returns:
        (H, W), int64: colors as 0xRRGGBB, or values.
    """
    with Image.open(path) as image:
        pixels = np.asarray(image.convert('RGB') if colored else image).astype(np.int64)
    if colored:
        return pixels @ [1 << 16, 1 << 8, 1]
    return pixels if pixels.ndim == 2 else pixels[..., 0]


def _pair(source: Source) -> list[tuple[Path, Path]]:
    """Return images and their label maps: of the same path but for the words that tell them."""
    keys: dict[Path, tuple[str, ...]] = {}
    in_folders, by_name = set(), set()
    for path in source.images:
        words = [re.split('[_ -]+', part) for part in PurePosixPath(source.name(path)).parts]
        words[-1] = re.split('[_ -]+', path.stem)
        *folders, name = (any(word.lower() in _MAPS for word in part) for part in words)
        in_folders |= {path} if any(folders) else set()
        by_name |= {path} if name else set()
        rest = (
            '_'.join(one for one in part if one.lower() not in _MAPS | _IMAGES) for part in words
        )
        keys[path] = tuple(filter(None, rest))
    maps = in_folders or by_name
    map_of = {keys[path]: path for path in sorted(maps)}
    images = [path for path in source.images if path not in maps]
    pairs = [(path, map_of[keys[path]]) for path in images if keys[path] in map_of]
    if maps and not pairs:
        raise UserError(
            f'no label map below {source.root} has the name of an image: {source.name(min(maps))} '
            'needs an image of the same name in images/'
        )
    if maps and len(images) > len(pairs):
        source.left_out['images that have no label map'] += len(images) - len(pairs)
    if more := len(maps) - len({path for _, path in pairs}):
        source.left_out['label maps that have no image'] += more
    return pairs


def _survey(path: Path) -> _Pixels | str:
    """Return what a label map holds, or what is wrong with it."""
    if path.suffix.lower() in ('.jpg', '.jpeg'):
        return 'is a JPEG file, which changes labels: save label maps as PNG'
    try:
        with Image.open(path) as image:
            values = None
            one_channel = len(image.getbands()) == 1
            if image.mode in ('L', 'P'):
                values = {value for _, value in image.getcolors()}
            elif one_channel:
                values = set(np.unique(np.asarray(image)).astype(int).tolist())
            if values is not None and image.mode != 'P':
                colors = {value * _GRAY for value in values}
            else:
                pixels = image.convert('RGB').getcolors(image.width * image.height)
                colors = {red << 16 | green << 8 | blue for _, (red, green, blue) in pixels}
            if values is None and all(color % _GRAY == 0 for color in colors):
                values = {color // _GRAY for color in colors}
            return _Pixels(image.size, colors, values, one_channel)
    except Exception as error:  # decoders raise whatever the bytes happen to lead to
        return f'cannot be read as a label map ({str(error)[:100]})'


def _name_values(
    source: Source, seen: set[int], names: list[str]
) -> tuple[list[str], dict[int, int]]:
    """Return the names of classes, and the class of each value of a pixel."""
    if seen == {0, IGNORED} and len(names) <= 2:
        source.notes.append('the label maps are black and white: white is taken as a class')
        names = names if len(names) == 2 else [BACKGROUND, *(names or ['foreground'])]
        return names, {0: 0, IGNORED: 1}
    labels = sorted(seen - {IGNORED})
    if not labels or len(labels) >= IGNORED or (names and labels[-1] > len(names)):
        raise UserError(
            f'the label maps below {source.root} have {len(labels)} labels, up to '
            f'{max(labels, default="none")}, and there are {len(names) or "no"} names of classes: '
            f'give from 1 to {IGNORED - 1} labels, and names for all or none'
        )
    if not names:
        source.notes.append('no file has names of the classes, so they are numbered')
        names = [f'class {value}' if value else BACKGROUND for value in labels]
        return names, {value: label for label, value in enumerate(labels)}
    if labels[-1] < len(names):
        return names, {label: label for label in range(len(names))}
    if labels[0] == 0:
        source.notes.append(f'the label 0 has no name: it is taken as the class {BACKGROUND!r}')
        return [BACKGROUND, *names], {label: label for label in range(len(names) + 1)}
    source.notes.append('the labels are counted from 1')
    return names, {label + 1: label for label in range(len(names))}
