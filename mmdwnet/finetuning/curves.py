"""Curves of the loss and the validation scores, from the logs of a training."""

import json
import math
from collections.abc import Iterator
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

Points = dict[int, float]

# Scores that are shown: title, and factor to percent.
SCORES = {
    'accuracy/top1': ('top-1 accuracy', 1),
    'coco/bbox_mAP': ('box AP', 100),
    'coco/segm_mAP': ('mask AP', 100),
    'mIoU': ('mean IoU', 1),
    'aAcc': ('pixel accuracy', 1),
}


def read_logs(work_dir: Path) -> tuple[Points, dict[str, Points]]:
    """Read what a training logged, in all its runs if it was interrupted.

    Args:
        work_dir: The work dir of the training.

    Returns:
        The loss by iteration, and each of the `SCORES` that was logged, in percent by epoch or
        iteration.
    """
    losses: Points = {}
    scores: dict[str, Points] = {}
    for path in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for entry in read_entries(path):
            if 'loss' in entry:
                losses[entry['step']] = entry['loss']
            for name in SCORES.keys() & entry.keys():
                scores.setdefault(name, {})[entry['step']] = entry[name] * SCORES[name][1]
    return _sort(losses), {name: _sort(scores[name]) for name in SCORES if name in scores}


def read_entries(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the entries of one of mmengine's files of scalars, each with its `step`."""
    for line in path.read_text(errors='replace').splitlines():
        with suppress(ValueError, RecursionError):  # a kill can leave half a line
            entry = json.loads(line)
            if isinstance(entry, dict) and 'step' in entry:
                yield entry


def _sort(points: Points) -> Points:
    return {step: value for step, value in sorted(points.items()) if math.isfinite(value)}


def plot(points: Points, unit: str) -> str:
    """Return a line plot as an SVG element.

    Args:
        points: Values by step.
        unit: What a step is.
    """
    gray = '#8a94a6'  # on no background, suits a light and a dark page
    figure = Figure(figsize=(5, 2.5), layout='constrained')
    axes = figure.subplots()
    few = len(points) <= 30
    axes.plot(list(points), list(points.values()), '#3b82f6', marker='o' if few else None)
    axes.set_xlabel(unit, color=gray)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.tick_params(colors=gray)
    axes.grid(axis='y', alpha=0.3)
    axes.spines[:].set_visible(False)
    file = StringIO()
    with matplotlib.rc_context({'svg.hashsalt': 'report', 'svg.fonttype': 'none'}):
        figure.savefig(file, format='svg', transparent=True, metadata={'Date': None})
    return '<svg' + file.getvalue().partition('<svg')[2]
