"""What can be wrong with a sample whose files can be read."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from reprlib import repr as short
from typing import Any

import numpy as np

from .images import find_wide_label

_FARTHEST = 2**20  # pixels: the longest side that OpenCV reads


@dataclass(frozen=True)
class Expected:
    """What a pipeline expects of its samples.

    Args:
        boxes: Whether it loads boxes.
        masks: Whether it loads masks.
        classes: How many classes there are, if known.
        ignore_index: The label of pixels that are not trained on.
    """

    boxes: bool
    masks: bool
    classes: int | None
    ignore_index: int


def find_fault(results: dict, expected: Expected) -> str | None:
    """Return what is wrong with a sample, or None.

    Args:
        results: The sample after its image or its annotations are loaded, as OpenMMLab's pipelines
            pass it on.
        expected: What they expect.
    """
    return next(_faults(results, expected), None)


def find_faulty_mask(info: dict) -> str | None:
    """Return which mask of COCO's instances cannot be decoded, or None."""
    for number, instance in enumerate(info.get('instances', [])):
        if 'mask' in instance:
            try:
                _decode(instance['mask'], info['height'], info['width'])
            except Exception:  # pycocotools raises whatever the numbers happen to lead to
                return f'{info["img_path"]}: the mask of instance {number} cannot be decoded'
    return None


def _decode(given: list | dict, height: int, width: int) -> None:
    from pycocotools import mask  # comes with mmdet

    if isinstance(given, list):
        given = [polygon for polygon in given if len(polygon) >= 6]  # mmdet ignores the others
    if isinstance(given, dict) and isinstance(given['counts'], str):
        mask.decode(given)
    elif given:
        mask.decode(mask.frPyObjects(given, height, width))


def _faults(results: dict, expected: Expected) -> Iterator[str]:
    image, classes = results.get('img_path'), expected.classes
    shape = tuple(results.get('ori_shape', ()))
    label = results.get('gt_label')
    if classes and isinstance(label, int | np.integer) and not 0 <= label < classes:
        yield f'{image} has the label {label}, but there are {classes} classes, counted from 0'
    if 'instances' in results and shape and (expected.boxes or expected.masks):
        annotated = results.get('height', shape[0]), results.get('width', shape[1])
        if annotated != shape:
            yield f'{image} has {_size(shape)} pixels, but its annotation says {_size(annotated)}'
        for number, instance in enumerate(results['instances']):
            if fault := find_fault_of_instance(instance, shape, expected.masks):
                yield f'{image}: the {fault}, in instance {number} of the image'
    label_map = results.get('gt_seg_map')
    if label_map is not None and shape:
        path = results.get('seg_map_path')
        if label_map.shape[:2] != shape:
            yield f'{path} has {_size(label_map.shape)} pixels, but its image {_size(shape)}'
        # mmdet's label maps may have other classes than its boxes.
        if classes and 'reduce_zero_label' in results:
            highest = _highest_wrong_label(label_map, results, classes, expected.ignore_index)
            if highest is not None:
                first = int(results['reduce_zero_label'])
                yield (
                    f'{path} has the label {highest}, but there are {classes} classes, counted '
                    f'from {first}'
                )


def _size(shape: tuple) -> str:
    return f'{shape[1]} x {shape[0]}'


def find_fault_of_instance(instance: dict, shape: tuple, masks: bool) -> str | None:
    """Return what is wrong with an object in an image, or None.

    Args:
        instance: Its box as 'bbox', x1, y1, x2, y2, and its outline as 'mask', if it has them.
        shape: Height and width of the image.
        masks: Whether its outline is used.
    """
    height, width = shape
    box, mask = instance.get('bbox', ()), instance.get('mask', [])
    if len(box) == 4:  # rotated ones have more
        x1, y1, x2, y2 = box
        if not all(math.isfinite(value) for value in box):
            return f'box {short(box)} is not finite'
        if min(x2, width) <= max(x1, 0) or min(y2, height) <= max(y1, 0):
            return f'box {short(box)} has no pixel of the image'
    # Decoding takes memory for the size that is given, and for the length of each line.
    if masks and isinstance(mask, dict):
        size = mask.get('size')
        if size is not None and size not in ([height, width], (height, width)):
            return f'mask has the size {short(size)}, not {[height, width]}'
        # pycocotools would leave the rest of the mask as it finds the memory.
        if isinstance(mask.get('counts'), list) and not _adds_up(mask['counts'], height * width):
            return f'mask has counts that are not of {height * width} pixels'
    elif masks and not (isinstance(mask, list) and all(_is_drawable(polygon) for polygon in mask)):
        return 'mask is neither polygons of finite numbers nor run-length encoded'
    return None


def _adds_up(counts: list, pixels: int) -> bool:
    return all(isinstance(count, int) and count >= 0 for count in counts) and sum(counts) == pixels


def _is_drawable(polygon: Any) -> bool:
    try:
        return not len(polygon) or (
            min(polygon) > -_FARTHEST and max(polygon) < _FARTHEST and math.isfinite(sum(polygon))
        )
    except TypeError:  # something else is in it
        return False


def _highest_wrong_label(
    label_map: np.ndarray, results: dict, classes: int, ignore_index: int
) -> int | None:
    path = results.get('seg_map_path')
    highest = find_wide_label(path) if isinstance(path, str) else None
    if highest is not None or label_map.ndim != 2:
        return highest
    wrong = label_map[(label_map >= classes) & (label_map != ignore_index)]
    return int(wrong.max()) + bool(results['reduce_zero_label']) if wrong.size else None
