"""What data a folder or a file holds, and whether a model can be trained on them."""

import filecmp
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from mmdwnet.datasets.contents import find_fault_of_instance, find_faulty_mask
from mmdwnet.errors import UserError

from .formats import class_folders, coco, label_maps, labelme, table, voc, yolo
from .found import Found, Sample
from .headers import read_headers
from .source import Source, named
from .splitting import labels_of, split_off

_TOLD = 5  # faults that are told one by one
_END = 2**10  # bytes, in which compressed images differ

# What reads each task's formats; lists of files go before folders.
_READERS = {
    'classify': (table.read, class_folders.read),
    'detect': (coco.read, labelme.read, voc.read, yolo.read),
    'segment': (label_maps.read, coco.read_as_maps),
}
_LOOKED_FOR = {
    'classify': 'folders of images, one for each class, or a CSV file of images and labels',
    'detect': "JSON files of COCO or LabelMe, Pascal VOC's XML files, or YOLO's text files",
    'segment': 'images/ beside masks/, labels/ or annotations/, or a JSON file of COCO',
}


def find_data(task: str, path: Path, share: float = 0.2, skip: bool = False) -> Found:
    """Find out what data there are, check them, and split off validation data if there are none.

    Args:
        task: 'classify', 'detect' or 'segment'.
        path: A folder, or a file that lists images. Folders of earlier runs in it are left out.
        share: The share of the images of each class that is split off.
        skip: Whether to leave out files at fault and go on.

    Returns:
        What is there.

    Raises:
        UserError: The data are missing, incomplete or at fault.
    """
    if not 0 < share < 1:
        raise UserError(f'--val {share}: give a share of the images, between 0 and 1')
    source = Source(path)
    found = next(filter(None, (read(source) for read in _READERS[task])), None)
    if found is None:
        why = source.faults[0] if source.faults else f'looked for {_LOOKED_FOR[task]}'
        raise UserError(f'{path} has nothing to {task}: {why}')
    _complete(found, source)
    if source.faults and not skip:
        more = f' (and {len(source.faults) - 1} more)' if len(source.faults) > 1 else ''
        raise UserError(f'{source.faults[0]}{more}: correct it, or give --bad-data skip')
    _choose_splits(found, source)
    if task == 'classify':
        _keep_known_classes(found)
    _split_off(found, source, share)
    _check_classes(found)
    found.notes += source.notes
    found.left_out += [f'{count} {what}' for what, count in source.left_out.items()]
    found.left_out += source.faults[:_TOLD]
    if len(source.faults) > _TOLD:
        found.left_out.append(f'{len(source.faults) - _TOLD} more files and annotations at fault')
    return found


def describe(found: Found) -> str:
    """Return lines on what was found, what is remarkable, and what is left out."""
    every = [sample for samples in found.splits.values() for sample in samples]
    splits = ', '.join(f'{len(samples)} {split}' for split, samples in found.splits.items())
    sizes = sorted({sample.size for sample in every}, key=lambda size: size[0] * size[1])
    ends = ' to '.join(dict.fromkeys(map(_text, (sizes[0], sizes[-1]))))
    objects = sum(len(sample.objects) for sample in every)
    kind = f'{objects} objects {"with" if found.masks else "without"} masks, '
    return '\n'.join(
        (
            f'{found.format}: {len(every)} images ({splits}), '
            f'{kind if found.task == "detect" else ""}{len(found.classes)} class(es) '
            f'({named(found.classes)}), {ends} pixels',
            *(f'note: {note}' for note in found.notes),
            *(f'left out: {one}' for one in found.left_out),
        )
    )


def _text(size: tuple[int, int]) -> str:
    return f'{size[0]} x {size[1]}'


def _complete(found: Found, source: Source) -> None:
    """Fill in the sizes of the images, and drop what is at fault or cannot be trained on."""
    headers = read_headers(sample.path for samples in found.splits.values() for sample in samples)
    source.faults += [f'{path} {flaw}' for path, flaw in headers.items() if isinstance(flaw, str)]
    counts = Counter(header[1] for header in headers.values() if not isinstance(header, str))
    found.notes += [f'{count} image(s) {remark}' for remark, count in counts.items() if remark]
    for samples in found.splits.values():
        good = []
        for sample in samples:
            header = headers[sample.path]
            if isinstance(header, str):
                continue
            size, _ = header
            # Annotations may not tell the size, or be in parts of it.
            if sample.size in ((0, 0), (1, 1), size):
                good.append(_fit(sample, size, source))
            else:
                source.faults.append(
                    f'{sample.path} has {_text(size)} pixels, but its annotation says '
                    f'{_text(sample.size)}'
                )
        samples[:] = good
    if found.task == 'detect':
        every = [
            one for samples in found.splits.values() for each in samples for one in each.objects
        ]
        boxes = sum(one.segmentation is None for one in every)
        found.masks = bool(every) and not boxes
        if 0 < boxes < len(every):
            found.notes.append(f'{boxes} objects have no outline, so that only boxes are used')


def _fit(sample: Sample, size: tuple[int, int], source: Source) -> Sample:
    """Return a sample with its image's size, and its objects in pixels, within the image."""
    scale = size if sample.size == (1, 1) else (1, 1)
    objects = []
    for one in sample.objects:
        x1, y1, x2, y2 = _scaled(one.box, scale)
        box = (max(x1, 0.0), max(y1, 0.0), min(x2, float(size[0])), min(y2, float(size[1])))
        outline = one.segmentation
        if isinstance(outline, list):
            outline = [_scaled(points, scale) for points in outline if len(points) >= 6]
        instance = {'mask': outline or []}
        fault = find_fault_of_instance(instance, size[::-1], masks=True)
        if isinstance(outline, dict) and not fault:
            info = {'img_path': sample.path, 'instances': [instance]}
            fault = find_faulty_mask({**info, 'width': size[0], 'height': size[1]})
        if min(x2 - x1, y2 - y1) < 1:
            source.left_out['objects smaller than a pixel'] += 1
        elif min(box[2] - box[0], box[3] - box[1]) < 1:
            source.left_out['objects outside of their image'] += 1
        elif outline == []:
            source.left_out['outlines of less than three points'] += 1
        elif fault:
            source.faults.append(f'{sample.path}: the {fault}')
        else:
            objects.append(replace(one, box=box, segmentation=outline))
            if max(abs(old - new) for old, new in zip((x1, y1, x2, y2), box, strict=True)) > 1:
                source.left_out['parts of objects that are outside of their image'] += 1
    return replace(sample, size=size, objects=tuple(objects))


def _scaled(points: list | tuple, scale: tuple[int, int]) -> list[float]:
    return [value * scale[axis % 2] for axis, value in enumerate(points)]


def _choose_splits(found: Found, source: Source) -> None:
    """Keep the splits that have images; those of no split are training images if no others are."""
    splits = {split: samples for split, samples in found.splits.items() if samples}
    unnamed = splits.pop('', [])
    if unnamed and 'train' in splits:
        source.left_out['images that belong to no split'] += len(unnamed)
    elif unnamed:
        splits['train'] = unnamed
    if 'train' not in splits:
        raise UserError(
            f'{source.root} has only {" and ".join(splits) or "faulty"} images: put those to train '
            'on into train/'
        )
    found.splits = {split: splits[split] for split in ('train', 'val', 'test') if split in splits}


def _keep_known_classes(found: Found) -> None:
    """Keep the classes that there are training images of."""
    labels = {one.label: found.classes[one.label or 0] for one in found.splits['train']}
    kept = [name for name in found.classes if name in labels.values()]
    if dropped := set(found.classes) - set(kept):
        found.left_out.append(f'classes without training images: {named(sorted(dropped))}')
    if len(kept) < 2:
        raise UserError(
            f'all images to train on are of one class, {kept[0]!r}: give those of another one, too'
        )
    for split, samples in found.splits.items():
        found.splits[split] = [
            replace(one, label=kept.index(labels[one.label]))
            for one in samples
            if one.label in labels
        ]
    found.classes = kept


def _split_off(found: Found, source: Source, share: float) -> None:
    """Split off validation data if there are none; note images that are in several splits."""
    firsts = _find_firsts(one.path for samples in found.splits.values() for one in samples)
    if 'val' not in found.splits:
        # Images of the same content stay together.
        train, val = split_off(
            found.splits['train'], share, lambda sample: source.name(firsts[sample.path])
        )
        if not train:
            raise UserError(f'there is only one image, {val[0].path}: give at least 2')
        found.splits = {'train': train, 'val': val} | {
            split: samples for split, samples in found.splits.items() if split == 'test'
        }
        found.notes.append(f'{len(val)} images are split off for validation, the same each time')
    trained = {one.path for one in found.splits['train']}
    for split in sorted(found.splits.keys() - {'train'}):
        same = [one.path for one in found.splits[split] if firsts[one.path] in trained]
        if same:
            found.notes.append(
                f'{len(same)} {split} image(s) are training images, too, so that scores come out '
                f'too high: {same[0]} is {firsts[same[0]]}'
            )


def _check_classes(found: Found) -> None:
    counts = Counter(label for one in found.splits['train'] for label in labels_of(one))
    if set(counts) == {-1}:
        raise UserError('no image to train on shows an object: give annotations of some')
    for many, what in ((1, 'in one training image only'), (0, 'in no training image')):
        names = [name for label, name in enumerate(found.classes) if counts[label] == many]
        found.notes += [f'classes {what}: {named(names)}'] if names else []
    if found.task == 'detect' and counts[-1]:
        found.notes.append(f'{counts[-1]} training image(s) show no object')


def _find_firsts(paths: Iterable[Path]) -> dict[Path, Path]:
    """Return for each file the first one that has the same content."""
    sizes = {path: path.stat().st_size for path in paths}
    counts = Counter(sizes.values())
    firsts: dict[tuple[int, bytes], Path] = {}
    found = {}
    for path, size in sizes.items():
        end = b''
        if counts[size] > 1:
            with path.open('rb') as file:
                file.seek(-min(_END, size), os.SEEK_END)
                end = file.read()
        first = firsts.setdefault((size, end), path)
        same = path == first or filecmp.cmp(path, first, shallow=False)
        found[path] = first if same else path
    return found
