"""What a config says about bad data, and the data sets that respect it."""

from copy import deepcopy
from functools import partial
from typing import Any

from mmengine.config import Config
from mmengine.registry import DATASETS

from mmdwnet.apis.building import resolve
from mmdwnet.errors import UserError

from .checks import datasets

_CHOICES = ('stop', 'skip')


def skips_bad_data(cfg: Config) -> bool:
    """Return whether bad samples are skipped; if not, they end the run.

    Raises:
        UserError: The config says neither.
    """
    choice = cfg.get('bad_data', 'stop')
    if choice not in _CHOICES:
        raise UserError(f'the config has bad_data={choice!r}: give one of {_CHOICES}')
    return choice == 'skip'


def known_classes(cfg: Config) -> int:
    """Return how many classes a classifier's head has, or 0: labels may be as many.

    Data sets may know less. mmpretrain's do not ask how many labels are in a list.
    """
    return (cfg.model.get('head') or {}).get('num_classes') or 0


def with_checks(dataset: Any, skip: bool) -> Any:
    """Return the config of a data set with COCO's annotations checked as they are loaded.

    Args:
        dataset: The config, or a data set that is built already.
        skip: Whether annotations that are at fault are left out.
    """
    if not isinstance(dataset, dict):
        return dataset
    dataset = deepcopy(dataset)
    for one in datasets(dataset):
        kind = resolve(DATASETS, one.get('type'))
        if hasattr(kind, 'COCOAPI'):  # so mmdet is there
            from mmdwnet.datasets.coco import is_coco, load_checked

            if is_coco(kind):
                one['type'] = partial(load_checked, kind, skip)
    return dataset
