"""COCO annotations, checked as they are loaded: they come from anywhere."""

import json
import logging
import math
from collections import Counter
from collections.abc import Collection
from functools import partial
from pathlib import Path
from reprlib import repr as short
from tempfile import TemporaryDirectory
from typing import Any

from mmdet.datasets import CocoDataset
from mmdet.datasets.api_wrappers import COCO
from mmdet.evaluation import CocoMetric
from mmengine.logging import print_log

from mmdwnet.errors import DataError, UserError

_TOLD = 5  # faults that a line in the log gives


def is_coco(kind: Any) -> bool:
    """Return whether a class of data sets reads COCO's instances as mmdet's CocoDataset does."""
    return issubclass(kind, CocoDataset) and kind.COCOAPI is COCO


def load_checked(kind: type[CocoDataset], skip: bool, **options: Any) -> CocoDataset:
    """Build a data set of mmdet whose annotations are checked as they are read.

    What mmdet itself leaves out, such as boxes of less than a pixel, is counted in the log.

    Args:
        kind: The class.
        skip: Whether to leave out annotations that are at fault and go on. The data set then has
            all faults in `loading_faults`, and by the image's id in `annotation_faults`.
        **options: Of the class.

    Returns:
        The data set.

    Raises:
        DataError: The file is not in COCO's format, or, unless they are skipped, annotations in it
            are at fault.
    """
    lazy = options.pop('lazy_init', False)
    dataset = kind(**options, lazy_init=True)
    dataset.annotation_faults, dataset.loading_faults = {}, []
    dataset.COCOAPI = partial(
        _open,
        classes=dataset.metainfo['classes'],
        unique=dataset.ANN_ID_UNIQUE,
        skip=skip,
        faults=dataset.annotation_faults,
        found=dataset.loading_faults,
    )
    if lazy:
        return dataset
    try:
        dataset.full_init()
    except ValueError as error:
        if isinstance(error, UserError) or dataset.data_list:
            raise
        if dataset.loading_faults:
            raise DataError(
                f'{dataset.loading_faults[0]}, and no image is left: correct it'
            ) from error
        raise DataError(
            f'{dataset.ann_file} has no image to train on, with boxes of the classes '
            f'{short(dataset.metainfo["classes"])}: correct it, or the classes in the config'
        ) from error
    return dataset


def build_metric(kind: type[CocoMetric], ann_file: str, **options: Any) -> CocoMetric:
    """Build mmdet's metric without the annotations that are at fault.

    Args:
        kind: The class.
        ann_file: The annotations, of a local file.
        **options: Of the class.

    Returns:
        The metric.
    """
    coco = CheckedCOCO(ann_file)
    if not coco.found:
        return kind(ann_file=ann_file, **options)
    with TemporaryDirectory() as folder:
        path = Path(folder) / 'annotations.json'
        path.write_text(json.dumps(coco.dataset))
        return kind(ann_file=str(path), **options)


def _open(
    path: str,
    classes: Collection[str],
    unique: bool,
    skip: bool,
    faults: dict[Any, str],
    found: list[str],
) -> COCO:
    """Return the annotations of a file that are good, and tell of the others."""
    coco = CheckedCOCO(path, unique, classes)
    faults.update(coco.faults)
    found.extend(coco.found)
    if found and not skip:
        more = f' (and {len(found) - 1} more)' if len(found) > 1 else ''
        raise DataError(f"{found[0]}{more}: correct it, or set bad_data='skip' in the config")
    if found:
        more = f'; and {len(found) - _TOLD} more' if len(found) > _TOLD else ''
        print_log('; '.join(found[:_TOLD]) + more, 'current', logging.WARNING)
    if coco.left_out:
        counts = ', '.join(f'{count} {what}' for what, count in coco.left_out.items())
        print_log(f'{path}: boxes that mmdet leaves out: {counts}', 'current')
    return coco


class CheckedCOCO(COCO):
    """The annotations of a file without those that are at fault.

    Attributes:
        found: All faults.
        faults: One fault of each image that has any, by the image's id.
        left_out: How many good annotations mmdet leaves out, by the reason.
    """

    def __init__(self, path: str, unique: bool = True, classes: Collection[str] = ()) -> None:
        self.path, self.unique, self.classes = path, unique, classes
        self.found: list[str] = []
        self.faults: dict[Any, str] = {}
        self.left_out: Counter[str] = Counter()
        try:
            super().__init__(path)
        except UserError:
            raise
        except (ValueError, RecursionError, AssertionError) as error:
            raise DataError(
                f'{path} is not a JSON object ({str(error)[:100]}): download or convert it again'
            ) from error

    def createIndex(self) -> None:  # noqa: N802
        """Index the annotations that are good."""
        categories = self._keep_good('categories', name=str)
        images = self._keep_good('images', file_name=str, width=float, height=float)
        if 'annotations' in self.dataset:  # images to be predicted have none
            self._keep_good_annotations(images, categories)
        super().createIndex()
        # As if each category were in images at fault, so that mmdet does not drop them as empty:
        # they are counted with other bad samples.
        for category in categories:
            self.catToImgs[category] += self.faults

    def _list(self, key: str) -> list:
        value = self.dataset.get(key)
        if not isinstance(value, list):
            raise DataError(
                f"{self.path} is not in COCO's format: it has no list of {key}; convert it again"
            )
        return value

    def _keep_good(self, key: str, **fields: type) -> dict[Any, dict]:
        """Drop the entries of a list that are at fault; return the others by their ids."""
        good: dict[Any, dict] = {}
        for number, one in enumerate(self._list(key)):
            fault = _fault_of_entry(one, good, fields)
            if fault is None:
                good[one['id']] = one
            else:
                self.found.append(f'{self.path}: entry {number} of its {key} {fault}')
        self.dataset[key] = list(good.values())
        return good

    def _keep_good_annotations(self, images: dict, categories: dict) -> None:
        kept: list[dict] = []
        ids: set = set()
        for number, one in enumerate(self._list('annotations')):
            fault = _fault_of_annotation(one, ids if self.unique else (), images, categories)
            if fault is None:
                kept.append(one)
                ids.add(one['id'])
                self.left_out.update(_left_out(one, images, categories, self.classes))
                continue
            self.found.append(f'{self.path}: entry {number} of its annotations {fault}')
            image = one.get('image_id') if isinstance(one, dict) else None
            if _is_id(image) and image in images:
                self.found[-1] += f', in the image {images[image]["file_name"]}'
                self.faults.setdefault(image, self.found[-1])
        self.dataset['annotations'] = kept


def _is_id(value: object) -> bool:
    return isinstance(value, int | float | str)


def _is(value: object, kind: type) -> bool:
    """Return whether a value is a text, or a finite number."""
    if kind is str:
        return isinstance(value, str)
    try:
        return isinstance(value, int | float) and math.isfinite(value)
    except OverflowError:  # of hundreds of digits
        return False


def _fault_of_entry(one: Any, ids: Collection, fields: dict[str, type]) -> str | None:
    if not isinstance(one, dict) or not _is_id(one.get('id')):
        return 'has no id'
    if one['id'] in ids:
        return f'has the id {short(one["id"])} of another'
    for name, kind in fields.items():
        if not _is(one.get(name), kind):
            return f'has the {name} {short(one.get(name))}'
    return None


def _fault_of_annotation(one: Any, ids: Collection, images: dict, categories: dict) -> str | None:
    if (fault := _fault_of_entry(one, ids, {})) is not None:
        return fault
    if not _is_id(one.get('image_id')) or one['image_id'] not in images:
        return f'is of the image {short(one.get("image_id"))}, which is not listed'
    if not _is_id(one.get('category_id')) or one['category_id'] not in categories:
        return f'has the category {short(one.get("category_id"))}, which is not listed'
    if one.get('ignore'):
        return None
    box = one.get('bbox')
    if not isinstance(box, list) or len(box) != 4 or not all(_is(value, float) for value in box):
        return f'has the box {short(box)}, not four finite numbers'
    if not _is(one.get('area'), float):
        return f'has the area {short(one.get("area"))}, not a finite number'
    return None


def _left_out(one: dict, images: dict, categories: dict, classes: Collection[str]) -> list[str]:
    """Return why mmdet leaves out an annotation that is not at fault, if it does."""
    if one.get('ignore'):
        return ['marked to be ignored']
    x, y, width, height = one['bbox']
    image = images[one['image_id']]
    if one['area'] <= 0 or width < 1 or height < 1:
        return ['of less than a pixel']
    if min(x + width, image['width']) <= max(x, 0) or min(y + height, image['height']) <= max(y, 0):
        return ['outside of the image']
    return [] if categories[one['category_id']]['name'] in classes else ['of other classes']
