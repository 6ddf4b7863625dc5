"""The share of each class in label maps."""

import numpy as np
from mmengine.registry import DATASETS, DefaultScope
from PIL import Image

from .formats.label_maps import IGNORED

_DOMINANT = 0.75  # share of the pixels
_WEIGHT = 0.4
_MOST_MAPS = 2000  # that are read; more data need no weights


def class_weights(dataset: dict) -> list[float] | None:
    """Return weights of the classes in a loss, or None if no class has most of the pixels.

    There are none, too, if pixels are ignored: mmsegmentation cannot combine the two.

    Args:
        dataset: Config of mmsegmentation's data set, without a pipeline.
    """
    with DefaultScope.overwrite_default_scope('mmseg'):
        samples = DATASETS.build({**dataset, 'pipeline': []}).load_data_list()
    if len(samples) > _MOST_MAPS:
        return None
    counts = np.zeros(256, np.int64)
    for sample in samples:
        with Image.open(sample['seg_map_path']) as labels:
            counts += np.bincount(np.asarray(labels).ravel(), minlength=256)
    if counts[IGNORED] or counts.max() < _DOMINANT * counts.sum():
        return None
    weights = [1.0] * len(dataset['metainfo']['classes'])
    weights[counts.argmax()] = _WEIGHT
    return weights
