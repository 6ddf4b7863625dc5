"""YOLO's text files of boxes or outlines, and the YAML file that names their classes."""

import os
from pathlib import Path
from typing import Any

import yaml

from mmdwnet.errors import UserError
from mmdwnet.finetuning.found import Found, Object, Sample
from mmdwnet.finetuning.source import Source, numbers

_FARTHEST = 2  # boxes in parts of the image's size may reach beyond it, but not by so much
_PARTS = (1, 1)  # the size that such coordinates are of


def read(source: Source) -> Found | None:
    """Return the objects in YOLO's files, or None if there are no such files."""
    config = _read_config(source)
    images: dict[str, list[Path]] = {}
    for split in ('train', 'val', 'test'):
        if config.get(split):
            images[split] = _find_images(source, config, split)
    for path in source.images if not images else []:
        images.setdefault(source.split(path), []).append(path)
    labels = {image: _label_file(image) for found in images.values() for image in found}
    if config and not any(labels.values()):
        raise UserError(
            f'{config["file"]} is of {len(labels)} images, but none has a text file in labels/ in '
            'place of images/, or beside it: put the labels there'
        )
    lines = {image: _read_lines(source, path) for image, path in labels.items() if path}
    every = [line for found in lines.values() for line in found]
    if not every and not config:
        return None
    names = config.get('names')
    for path in source.files if not names else []:
        if path.name in ('classes.txt', 'obj.names'):
            names = list(filter(None, map(str.strip, source.read_text(path).splitlines())))
    if not names:
        names = [f'class {label}' for label in range(int(max(line[0] for line in every)) + 1)]
        source.notes.append('no file has names of the classes, so they are numbered')
    in_pixels = any(max(map(abs, line[1:])) > _FARTHEST for line in every)
    if in_pixels:
        source.notes.append('the boxes are read as pixels: they are too large for parts of images')
    splits: dict[str, list[Sample]] = {}
    for split, found in images.items():
        for image in found:
            objects = []
            for values in lines.get(image, []):
                if values[0] in range(len(names)):
                    objects.append(_object(values))
                else:
                    source.faults.append(
                        f'{labels[image]} has the class {values[0]:g}, but there are {len(names)} '
                        'classes, counted from 0'
                    )
            sample = Sample(image, (0, 0) if in_pixels else _PARTS, objects=tuple(objects))
            splits.setdefault(split, []).append(sample)
    return Found('detect', 'YOLO', names, splits)


def _read_config(source: Source) -> dict[str, Any]:
    """Return the YAML file that has names of classes, and its path as 'file'; {} if none has."""
    for path in source.with_suffix('.yaml', '.yml'):
        try:
            config = yaml.safe_load(source.read_text(path))
        except (yaml.YAMLError, RecursionError) as error:
            raise UserError(
                f'{path} is not a YAML file ({str(error)[:100]}): correct it'
            ) from error
        if isinstance(config, dict) and (names := config.get('names')):
            if isinstance(names, list):
                names = dict(enumerate(names))
            if not isinstance(names, dict) or set(names) != set(range(len(names))):
                raise UserError(f'{path} has names that are not numbered from 0: correct them')
            names = [str(names[label]) for label in range(len(names))]
            return {**config, 'names': names, 'file': path}
    return {}


def _find_images(source: Source, config: dict, split: str) -> list[Path]:
    """Return the images of a split from its folders, or from lists of files."""
    file, given = config['file'], config[split]
    found: list[Path] = []
    for name in map(str, given if isinstance(given, list) else [given]):
        # Downloaded data have the paths of the machine that they were made on.
        inner = [part for part in Path(name).parts if part != '..']
        places = [Path(file.parent, str(config.get('path') or ''), name), Path(file.parent, *inner)]
        place = next((Path(os.path.normpath(one)) for one in places if one.exists()), None)
        if place is None and split == 'test':
            source.notes.append(f'{file.name} names {split} images in {name}, which is not there')
        elif place is None:
            raise UserError(f'{file} names {split} images in {places[0]}, which is not there')
        elif place.is_dir():
            found += source.images_in(place)
        else:
            for line in filter(None, map(str.strip, source.read_text(place).splitlines())):
                image = source.find_image(place, split, line)
                found += [image] if image else []
    return found


def _label_file(image: Path) -> Path | None:
    """Return the text file in labels/, if the image is in images/, or beside the image."""
    places = ('/labels/'.join(image.as_posix().rsplit('/images/', 1)), image)
    texts = (Path(place).with_suffix('.txt') for place in places)
    return next(filter(Path.is_file, texts), None)


def _read_lines(source: Source, path: Path) -> list[list[float]]:
    """Return the numbers of each object: its class, then center and size, or points."""
    found: list[list[float]] = []
    for number, line in enumerate(source.read_text(path).splitlines(), 1):
        try:
            values = numbers(line.split())
        except ValueError:
            values = [0]
        if len(values) == 5 or (len(values) >= 7 and len(values) % 2):
            found.append(values)
        elif values:
            source.faults.append(
                f'{path} has {line[:40]!r} in line {number}, which is not a class and the four '
                'numbers of a box, or those of three points or more'
            )
    return found


def _object(values: list[float]) -> Object:
    label, points = int(values[0]), values[1:]
    if len(points) > 4:
        return Object.outlined(label, points)
    x, y, width, height = points
    return Object(label, (x - width / 2, y - height / 2, x + width / 2, y + height / 2))
