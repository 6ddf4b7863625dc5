"""The study's table and figure."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import mean, median, quantiles, stdev

import torch
from benchmarking.timing import Step, time_in_turn
from complexity import Complexity, measure
from matplotlib.figure import Figure
from mmengine.config import Config

from mmdwnet.apis.building import build_model

from .running import Run

_REFERENCE = 'static_w7'
_BATCH, _ROUNDS, _SECONDS = 32, 15, 0.2
_HEADER = (
    *('config', 'mixer', 'window', 'shared by positions', 'shared by channels', 'dynamic'),
    *('parameters', 'multiply-adds', 'ms per image', 'relative time', 'top-1', 'each seed'),
)


@dataclass(frozen=True)
class Row:
    """What came out for one variant.

    Attributes:
        config: Its name.
        study: How the mixer is set, from the config.
        parameters: Their number.
        multiply_adds: For one image.
        milliseconds: For one image.
        relative: That time divided by the one of the reference: median, first and third quartile.
        top1: Accuracy of each seed, in percent.
        logs: The log of each seed, from the folder of the study.
    """

    config: str
    study: dict[str, str | int]
    parameters: int
    multiply_adds: int
    milliseconds: float
    relative: tuple[float, float, float]
    top1: list[float]
    logs: list[str]


def write_report(runs: Sequence[Run], out: Path) -> str:
    """Count, time, and write `table.md`, `figure.png` and `results.json`.

    Args:
        runs: Finished ones of each variant.
        out: Folder to write into.

    Returns:
        The table.
    """
    by_variant: dict[str, list[Run]] = {}
    for run in runs:
        by_variant.setdefault(run.variant, []).append(run)
    costs = {name: measure(group[0].cfg) for name, group in by_variant.items()}
    times = _time({name: group[0].cfg for name, group in by_variant.items()}, costs)
    reference = times[_reference(list(times))]
    rows = []
    for name, group in by_variant.items():
        # Round by round, as what slows the machine for a while slows all of them.
        ratios = [own / other for own, other in zip(times[name], reference, strict=True)]
        first, middle, third = quantiles(ratios, n=4)
        rows.append(
            Row(
                name,
                group[0].cfg.study.to_dict(),
                costs[name].total.parameters,
                costs[name].total.multiply_adds,
                1000 * median(times[name]),
                (middle, first, third),
                [run.top1 for run in group if run.top1 is not None],
                [str(run.log.relative_to(out)) for run in group],
            )
        )
    text = table(rows)
    (out / 'table.md').write_text(text)
    (out / 'results.json').write_text(json.dumps([asdict(row) for row in rows], indent=1) + '\n')
    figure(rows).savefig(out / 'figure.png', dpi=150)
    return text


def table(rows: Sequence[Row]) -> str:
    """Return a table in Markdown.

    Args:
        rows: Its rows.
    """
    lines = [_HEADER, ['---'] * len(_HEADER)]
    for row in rows:
        study, (middle, first, third) = row.study, row.relative
        seeds = (f'[{top1:.2f}]({log})' for top1, log in zip(row.top1, row.logs, strict=True))
        spread = f' ± {stdev(row.top1):.2f}' if len(row.top1) > 1 else ''
        lines.append(
            [
                row.config,
                str(study['mixer']),
                f'{study["window"]} x {study["window"]}',
                *(str(study[f'shared_by_{what}']) for what in ('positions', 'channels')),
                str(study['dynamic']),
                f'{row.parameters / 1e6:.2f} M',
                f'{row.multiply_adds / 1e6:.2f} M',
                f'{row.milliseconds:.2f}',
                f'{middle:.2f} ({first:.2f} to {third:.2f})',
                f'{mean(row.top1):.2f}{spread}',
                ', '.join(seeds),
            ]
        )
    return ''.join(f'| {" | ".join(line)} |\n' for line in lines)


def figure(rows: Sequence[Row]) -> Figure:
    """Draw accuracy over computation: counted at the left, measured at the right.

    Args:
        rows: Rows of the table. A point is labeled by the end of its config's name.
    """
    drawn = Figure(figsize=(11, 4.6), layout='constrained')
    left, right = drawn.subplots(1, 2, sharey=True)
    reference = _reference([row.config for row in rows])
    for axes, label, place in (
        (left, 'multiply-adds per image (millions)', lambda row: row.multiply_adds / 1e6),
        (right, f'time per image, relative to {reference}', lambda row: row.relative[0]),
    ):
        for number, mixer in enumerate(dict.fromkeys(row.study['mixer'] for row in rows)):
            own = [row for row in rows if row.study['mixer'] == mixer]
            axes.errorbar(
                [place(row) for row in own],
                [mean(row.top1) for row in own],
                [stdev(row.top1) if len(row.top1) > 1 else 0 for row in own],
                label=mixer,
                fmt='osD^v'[number % 5],
                capsize=3,
                alpha=0.8,
            )
            for row in own:
                axes.annotate(
                    row.config.rpartition('_w')[2].replace('_', ' '),
                    (place(row), mean(row.top1)),
                    (5, 3),
                    textcoords='offset points',
                    fontsize=8,
                )
        axes.set_xlabel(label)
        axes.grid(alpha=0.3)
        axes.margins(x=0.08)
    left.set_ylabel('top-1 accuracy (%), mean and standard deviation')
    left.legend(title='labels: window, groups')
    return drawn


def _reference(names: Sequence[str]) -> str:
    """Return the variant whose time the others are compared with."""
    return _REFERENCE if _REFERENCE in names else names[0]


def _time(cfgs: dict[str, Config], costs: dict[str, Complexity]) -> dict[str, list[float]]:
    """Return seconds for one image in each round, by variant."""
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    steps: dict[str, Step] = {}
    for name, cfg in cfgs.items():
        model = build_model(cfg).to(device).eval()
        images = torch.randn(_BATCH, 3, *costs[name].shape, device=device)
        steps[name] = partial(model, images, mode='tensor')
    with torch.inference_mode():
        for step in steps.values():
            step()
        measured = time_in_turn(steps, _ROUNDS, _SECONDS)
    return {name: [t / _BATCH for t in one.times] for name, one in measured.items()}
