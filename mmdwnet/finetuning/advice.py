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
_LOW = 0.6  # share of a class that is found
_GAP = 15  # percent between training and validation
_SMALL = 16  # side of an object in the network's input, in pixels
_NAMED = 5  # classes in a sentence


def advise(
    cfg: Config,
    found: Found,
    losses: Points,
    scores: Mapping[str, Points],
    classes: Sequence[str],
    confusion: np.ndarray,
) -> list[str]:
    """Say what could make a model better.

    Args:
        cfg: The config of its training.
        found: The data.
        losses: Of the training, as from `read_logs`.
        scores: Of the validations, as from `read_logs`; the first one counts.
        classes: Names of those that were tested.
        confusion: Counts of true (rows) and predicted classes in the test.

    Returns:
        Sentences.
    """
    values = list(next(iter(scores.values()), {}).values())
    return [
        *_on_training(found.task, list(losses.values()), values),
        *_on_recall(classes, confusion),
        *_on_counts(found),
        *_on_sizes(cfg, found),
        *_on_weights(cfg),
    ]


def _on_training(task: str, losses: Sequence[float], scores: Sequence[float]) -> list[str]:
    third, quarter = len(scores) // 3, max(len(losses) // 4, 1)
    if third and scores[-1] == max(scores) and scores[-1] - scores[-1 - third] > 1:
        return ['The validation score was still rising at the end: train for more epochs.']
    if not third and len(losses) > 1:  # too few validations to tell
        before, last = np.mean(losses[-2 * quarter : -quarter]), np.mean(losses[-quarter:])
        if last < 0.85 * before:
            return ['The loss was still falling at the end: train for more epochs.']
    add = 'add training images or augmentation.'
    if third and np.argmax(scores) < 0.6 * len(scores) and max(scores) - scores[-1] > 1:
        return [f'The validation score was best early and fell later: {add}']
    # A classifier's loss is the negative logarithm of the true class's probability.
    known = 100 * math.exp(-losses[-1]) if task == 'classify' and losses else 0
    if scores and known - scores[-1] > _GAP:
        return [
            f'On training images, the true class gets a probability of about {known:.0f} %, but on '
            f'validation images only {scores[-1]:.0f} % are right: {add}'
        ]
    return []


def _on_recall(classes: Sequence[str], confusion: np.ndarray) -> list[str]:
    counts = confusion.sum(1)[: len(classes)]
    recall = confusion.diagonal()[: len(classes)] / np.maximum(counts, 1)
    weak = [i for i in np.argsort(recall, kind='stable') if counts[i] and recall[i] < _LOW]
    return _about(
        [f'{classes[i]} ({100 * recall[i]:.0f} % found)' for i in weak],
        'The model is weak on',
        'look whether they are labeled well, and add such images',
    )


def _on_counts(found: Found) -> list[str]:
    train = found.splits['train']
    if found.task == 'segment':
        return []  # what is in the label maps is not counted
    if found.task == 'classify':
        what, labels = 'images', [sample.label for sample in train]
    else:
        what, labels = 'objects', [each.label for sample in train for each in sample.objects]
    counts = Counter(labels)
    few = sorted((counts[i], name) for i, name in enumerate(found.classes) if counts[i] < _FEW)
    named = [f'{name} ({count})' for count, name in few]
    return _about(named, f'There are few training {what} of', 'add some')


def _about(named: Sequence[str], what: str, then: str) -> list[str]:
    """Make a sentence about classes, if there are any."""
    more = f' and {len(named) - _NAMED} more classes' if len(named) > _NAMED else ''
    return [f'{what} {", ".join(named[:_NAMED])}{more}: {then}.'] if named else []


def _on_sizes(cfg: Config, found: Found) -> list[str]:
    pipeline = cfg.test_dataloader.dataset.get('pipeline', []) if found.task == 'detect' else []
    scale = next((one.scale for one in pipeline if isinstance(one.get('scale'), tuple)), None)
    if scale is None:
        return []
    sides = [
        math.sqrt((x2 - x1) * (y2 - y1)) * mmcv.rescale_size(sample.size, scale, True)[1]
        for sample in found.splits['train']
        for x1, y1, x2, y2 in (each.box for each in sample.objects)
    ]
    share = sum(side < _SMALL for side in sides) / max(len(sides), 1)
    if share < 0.25:
        return []
    return [
        f'{100 * share:.0f} % of the objects have less than {_SMALL} x {_SMALL} pixels when images '
        f'are resized to {scale[0]} x {scale[1]}: use a larger --size.'
    ]


def _on_weights(cfg: Config) -> list[str]:
    if cfg.get('load_from') or cfg.model.backbone.get('init_cfg'):
        return []
    return ['The training began from random weights: begin from others with --weights FILE.']
