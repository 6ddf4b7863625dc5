"""What can be wrong with a sample that was loaded without an error."""

from collections.abc import Iterator

import numpy as np


def find_fault(results: dict, classes: int | None, ignore_index: int) -> str | None:
    """Return what is wrong with a sample, or None.

    Args:
        results: The sample after loading, as OpenMMLab's pipelines pass it on.
        classes: How many classes there are, if known.
        ignore_index: The label of pixels that are not trained on.
    """
    return next(_faults(results, classes, ignore_index), None)


def _faults(results: dict, classes: int | None, ignore_index: int) -> Iterator[str]:
    image = results.get('img_path')
    shape = tuple(results.get('ori_shape', ()))
    label = results.get('gt_label')
    if classes and isinstance(label, int | np.integer) and not 0 <= label < classes:
        yield f'{image} has the label {label}, but there are {classes} classes, from 0'
    if 'instances' in results and shape:
        annotated = results.get('height', shape[0]), results.get('width', shape[1])
        if annotated != shape:
            yield (
                f'{image} has {shape[1]} x {shape[0]} pixels, but its annotation says '
                f'{annotated[1]} x {annotated[0]}'
            )
        yield from (f'{image}: {fault}' for fault in _faulty_boxes(results['instances'], *shape))
    label_map = results.get('gt_seg_map')
    if label_map is not None and shape and classes:
        yield from _faulty_labels(label_map, results, shape, classes, ignore_index)


def _faulty_boxes(instances: list[dict], height: int, width: int) -> Iterator[str]:
    for number, instance in enumerate(instances):
        box = instance.get('bbox')
        if box is None or len(box) != 4:  # rotated boxes, say
            continue
        x1, y1, x2, y2 = box
        # False for NaN, too.
        if not (max(x1, 0) < min(x2, width) and max(y1, 0) < min(y2, height)):
            yield f'the box {box} of instance {number} does not lie in the image'
        elif not np.isfinite(box).all():
            yield f'the box {box} of instance {number} is not finite'


def _faulty_labels(
    label_map: np.ndarray, results: dict, shape: tuple, classes: int, ignore_index: int
) -> Iterator[str]:
    path = results.get('seg_map_path')
    if label_map.shape[:2] != shape:
        sizes = [f'{width} x {height}' for height, width in (label_map.shape[:2], shape)]
        yield f'{path} has {sizes[0]} pixels, but its image has {sizes[1]}'
    wrong = (label_map >= classes) & (label_map != ignore_index)
    if label_map.ndim == 2 and wrong.any():
        # As in the file, where all are higher by one.
        label = int(label_map[wrong].max()) + bool(results.get('reduce_zero_label'))
        yield f'{path} has the label {label}, but there are {classes} classes'
