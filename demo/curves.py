"""Curves of losses and scores, from the logs of training."""

import json
from collections.abc import Iterator

from matplotlib.figure import Figure

from .tasks import TASKS, TITLES, Task

Points = list[tuple[int, float]]


def draw_curves() -> Figure:
    """Draw each task's training loss and, below, its scores on the validation data.

    Returns:
        The figure, with one column per task.
    """
    figure = Figure(figsize=(12, 5), layout='constrained')
    axes = figure.subplots(2, len(TASKS), sharex='col')
    for (above, below), task in zip(axes.T, TASKS, strict=True):
        losses, scores = read_curves(task)
        above.plot(*zip(*losses, strict=True), color='#4063d8')
        above.set_title(task.name)
        above.set_ylabel('training loss')
        for name, points in scores.items():
            below.plot(*zip(*points, strict=True), marker='o', label=TITLES[name])
        below.set_ylabel('validation score, %')
        below.set_xlabel('iteration')
        below.legend()
    return figure


def read_curves(task: Task) -> tuple[Points, dict[str, Points]]:
    """Read the losses and scores that a task's training logged.

    Args:
        task: A task that has been trained.

    Returns:
        Pairs of iteration and training loss, and for each score pairs of iteration and percentage.
    """
    losses: Points = []
    scores: dict[str, Points] = {name: [] for name in task.scores}
    for entry in _entries(task):
        if 'loss' in entry:
            losses.append((entry['step'], entry['loss']))
        elif losses:  # its own step may count epochs; the test's comes last
            for name, (metric, factor) in task.scores.items():
                scores[name].append((losses[-1][0], entry[metric] * factor))
    return losses, scores


def _entries(task: Task) -> Iterator[dict]:
    """Yield the log entries of a task's training in order, including runs that were resumed."""
    for path in sorted(task.work_dir.glob('*/vis_data/scalars.json')):
        yield from map(json.loads, path.read_text().splitlines())
