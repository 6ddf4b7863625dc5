"""The report on a training: a page that needs no network and no scripts."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup
from mmengine.config import Config
from mmengine.fileio import load, put_text

from mmdwnet.apis import hub

from .advice import advise
from .curves import SCORES, plot, read_logs
from .found import Found

_LARGEST = 30  # classes in a confusion matrix; of more, the most confused pairs are listed


def write_report(
    out: Path,
    cfg: Config,
    found: Found,
    found_text: str,
    metrics: Mapping[str, float | None],
    outcomes: Path,
) -> Path:
    """Write `report.html`, the same bytes for the same input.

    Args:
        out: Folder of the config, and of the report.
        cfg: The config of the training.
        found: The data.
        found_text: What was found, in words.
        metrics: Scores of the test; None is no number.
        outcomes: File that the metric `Outcomes` wrote in the test.

    Returns:
        The report.
    """
    seen = load(outcomes)
    known = {key: np.nan if value is None else value for key, value in metrics.items()}
    confusion = np.array(seen['confusion'])
    losses, scores = read_logs(Path(cfg.work_dir))
    step = 'epoch' if cfg.default_hooks.logger.get('log_metric_by_epoch', True) else 'iteration'
    curves = [('training loss', 'iteration', losses)]
    curves += [(f'{SCORES[name][0]}, %', step, points) for name, points in scores.items()]
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    page = environment.get_template('report.html.jinja').render(
        **seen,
        title=out.resolve().name,
        found=found_text.splitlines(),
        scores=[
            (title, known[key] * factor) for key, (title, factor) in SCORES.items() if key in known
        ],
        charts=[(title, Markup(plot(points, unit))) for title, unit, points in curves if points],
        advice=advise(cfg, found, losses, scores, seen['classes'], confusion),
        table=_per_class(seen, confusion, known),
        **_confused(seen, confusion),
        tools=shlex.quote(str(hub.root() / 'tools')),
        folder=shlex.quote(str(out)),
        path=repr(str(out)),
    )
    path = out / 'report.html'
    put_text(page, path, backend_args=dict(backend='atomic'))
    return path


def _per_class(
    seen: Mapping, confusion: np.ndarray, metrics: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Return the scores of each class, the worst first."""
    classes, task = seen['classes'], seen['task']
    hits, rows, columns = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    with np.errstate(invalid='ignore'):  # where nothing was counted, there is no score
        recall, precision, iou = hits / rows, hits / columns, hits / (rows + columns - hits)
    scores = {'recall': recall, 'precision': precision}
    if task == 'segment':
        scores = {'IoU': iou, 'accuracy': recall}
    aps = [metrics.get(f'coco/{name}_precision') for name in classes]  # of a classwise CocoMetric
    if None not in aps:
        scores = {'mask AP' if 'coco/segm_mAP' in metrics else 'box AP': np.array(aps), **scores}
    counted = {'classify': 'images', 'detect': 'objects', 'segment': 'pixels'}[task]
    order = np.argsort(next(iter(scores.values()))[: len(classes)], kind='stable')
    return [
        {'class': classes[label], counted: int(rows[label])}
        | {f'{title}, %': 100 * float(values[label]) for title, values in scores.items()}
        for label in order
    ]


def _confused(seen: Mapping, confusion: np.ndarray) -> dict[str, Any]:
    """Return the confusion matrix or, for many classes, the most confused pairs."""
    extra = len(confusion) > len(seen['classes'])
    rows = seen['classes'] + ['background'] * extra
    columns = seen['classes'] + ['missed'] * extra
    shares = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    if len(seen['classes']) <= _LARGEST:
        cells = [list(zip(*row, strict=True)) for row in zip(confusion, shares, strict=True)]
        return dict(columns=columns, matrix=list(zip(rows, cells, strict=True)))
    wrong = confusion * (1 - np.eye(len(confusion), dtype=int))
    pairs = np.argwhere(wrong)
    order = np.argsort(-wrong[tuple(pairs.T)], kind='stable')[:_LARGEST]
    return dict(
        pairs=[(rows[a], columns[b], wrong[a, b], 100 * shares[a, b]) for a, b in pairs[order]]
    )
