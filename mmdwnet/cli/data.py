"""What a config says about bad data, and the data sets that respect it."""

from copy import deepcopy
from functools import partial
from typing import Any

from mmengine.config import Config
from mmengine.registry import DATASETS, METRICS

from mmdwnet.apis.building import resolve

from .checks import datasets


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


def without_faults(evaluator: Any) -> Any:
    """Return the config of an evaluator whose CocoMetric leaves out annotations that are at fault.

    Args:
        evaluator: The config of a metric or of several, or an evaluator that is built already.
    """
    if isinstance(evaluator, list | tuple):
        return [without_faults(metric) for metric in evaluator]
    if not isinstance(evaluator, dict) or not evaluator.get('ann_file'):
        return evaluator
    kind = resolve(METRICS, evaluator.get('type'))
    local = not evaluator.get('backend_args') and '://' not in evaluator['ann_file']
    if getattr(kind, '__name__', None) != 'CocoMetric' or not local:
        return evaluator
    from mmdwnet.datasets.coco import build_metric

    return {**evaluator, 'type': partial(build_metric, kind)}
