"""What to try next, by rules from the data, the training and the test."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import mmcv
import numpy as np
from mmengine.config import Config

from .curves import Points
from .found import Found

_FEW = 20  # images or objects of a class to train on
_LOW = 0.6  # recall of a class
_GAP = 15  # percent between scores on training and validation images
_SMALL = 16  # side of an object in the network's input, in pixels
_NAMED = 5  # classes in a sentence


def advise(
    cfg: Config,
    found: Found,
    losses: Points,
    scores: Mapping[str, Points],
    confusion: np.ndarray,
) -> list[str]:
    """Say what could make a model better.

    Args:
        cfg: The config of its training.
        found: The data.
        losses: Training losses, as from `read_logs`.
        scores: Validation scores, as from `read_logs`; the first one counts.
        confusion: Counts of true (rows) and predicted classes in the test.

    Returns:
        Sentences.
    """
    values = list(next(iter(scores.values()), {}).values())
    return [
        *_on_epochs(list(losses.values()), values),
        *_on_overfitting(found.task, list(losses.values()), values),
        *_on_counts(found),
        *_on_confusion(found.classes, confusion),
        *_on_small_objects(cfg, found),
        *_on_weights(cfg),
    ]


def _on_epochs(losses: Sequence[float], scores: Sequence[float]) -> list[str]:
    third, quarter = len(scores) // 3, len(losses) // 4
    if third:
        if scores[-1] == max(scores) and scores[-1] - scores[-1 - third] > 1:
            return ['The validation score was still rising at the end: train for more epochs.']
    elif quarter:
        before, last = np.mean(losses[-2 * quarter : -quarter]), np.mean(losses[-quarter:])
        if last < 0.85 * before:
            return ['The loss was still falling at the end: train for more epochs.']
    return []


def _on_overfitting(task: str, losses: Sequence[float], scores: Sequence[float]) -> list[str]:
    add = 'add training images or augmentation.'
    if not scores:
        return []
    best = int(np.argmax(scores))
    if best < 0.6 * len(scores) and scores[best] - scores[-1] > 1:
        return [f'The validation score was best early and fell later: {add}']
    if task == 'classify' and losses:
        # The loss is the negative logarithm of the true class's probability.
        known = 100 * math.exp(-losses[-1])
        if known - scores[-1] > _GAP:
            return [
                f'On training images, the true class gets about {known:.0f} %, far above the '
                f'{scores[-1]:.0f} % on validation images: {add}'
            ]
    return []


def _on_counts(found: Found) -> list[str]:
    train = found.splits['train']
    if found.task == 'segment':
        return []  # what is in the label maps is not counted
    labels = [sample.label for sample in train]
    if found.task == 'detect':
        labels = [each.label for sample in train for each in sample.objects]
    counts = Counter(labels)
    few = sorted((counts[label], label) for label in range(len(found.classes)))
    named = [f'{found.classes[label]} ({count})' for count, label in few if count < _FEW]
    what = 'objects' if found.task == 'detect' else 'images'
    return _about(named, f'There are few training {what} of', 'add some')


def _on_confusion(classes: Sequence[str], confusion: np.ndarray) -> list[str]:
    counts = confusion[: len(classes)].sum(1)
    recall = confusion.diagonal()[: len(classes)] / np.maximum(counts, 1)
    low = [label for label in np.argsort(recall, kind='stable') if recall[label] < _LOW]
    named = [f'{classes[label]} ({recall[label]:.0%} found)' for label in low if counts[label]]
    return _about(named, 'The model is weak on', 'look at their labels below, and add such images')


def _on_small_objects(cfg: Config, found: Found) -> list[str]:
    pipeline = cfg.test_dataloader.dataset.pipeline if found.task == 'detect' else []
    scale = next((tuple(one.scale) for one in pipeline if one.get('scale') is not None), None)
    if scale is None:
        return []
    sides = []
    for sample in found.splits['train']:
        _, factor = mmcv.rescale_size(sample.size, scale, return_scale=True)
        boxes = [each.box for each in sample.objects]
        sides += [math.sqrt((x2 - x1) * (y2 - y1)) * factor for x1, y1, x2, y2 in boxes]
    share = np.mean(np.array(sides) < _SMALL) if sides else 0
    if share < 0.25:
        return []
    return [
        f'{share:.0%} of the objects are smaller than {_SMALL} pixels after resizing to '
        f'{scale[0]} x {scale[1]}: use a larger --size.'
    ]


def _on_weights(cfg: Config) -> list[str]:
    if cfg.get('load_from') or cfg.model.backbone.get('init_cfg'):
        return []
    return [
        'The training began from random weights: begin from released ones, or from --weights of '
        'another training.'
    ]


def _about(named: Sequence[str], what: str, then: str) -> list[str]:
    """Make a sentence about classes, if there are any."""
    if not named:
        return []
    more = f' and {len(named) - _NAMED} more classes' if len(named) > _NAMED else ''
    return [f'{what} {", ".join(named[:_NAMED])}{more}: {then}.']
