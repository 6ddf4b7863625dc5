"""Draw losses, learning rates and scores of several trainings on one page."""

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from visualizing.pages import check_page, save

from mmdwnet.cli.command import add_traceback, run_command
from mmdwnet.errors import UserError
from mmdwnet.finetuning.curves import SCORES, Points, read_entries

# Where the scalars lie: in a work dir, in a folder of tools/finetune.py, in a folder of one run.
_PLACES = ('*/vis_data/scalars.json', 'run/*/vis_data/scalars.json', 'vis_data/scalars.json')
_TITLES = {'loss': 'training loss', 'base_lr': 'learning rate'}


@dataclass
class Run:
    """What a training logged.

    Attributes:
        name: The path that was given for it.
        train: The values of the training by key and iteration.
        val: The values of the validations by key and epoch or iteration.
        by_epoch: Whether validations count epochs.
    """

    name: str
    train: dict[str, Points] = field(default_factory=dict)
    val: dict[str, Points] = field(default_factory=dict)
    by_epoch: bool = False


def main(argv: Sequence[str] | None = None) -> int:
    """Draw as the command line says; return 0, or 2 on bad input."""
    return run_command(draw, parse_args(argv))


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line, by default the process's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'logs',
        nargs='+',
        metavar='LOG',
        help='work dir, folder of tools/finetune.py, or a scalars.json that mmengine wrote',
    )
    parser.add_argument(
        '--keys',
        nargs='+',
        help='what to draw, such as loss_cls or coco/bbox_mAP_50 [loss, learning rate, scores]',
    )
    parser.add_argument('--out', default='curves.png', help='file for the page [curves.png]')
    add_traceback(parser)
    return parser.parse_args(argv)


def draw(args: argparse.Namespace) -> None:
    """Read the logs and write the page.

    Raises:
        UserError: A log cannot be read, or none has a key, or the page cannot be written.
    """
    check_page(args.out)
    runs = [read_run(path) for path in args.logs]
    known = {key for run in runs for key in (*run.train, *run.val)}
    keys = args.keys or [key for key in (*_TITLES, *SCORES) if key in known]
    missing = [key for key in keys if key not in known]
    if missing or not keys:
        what = ' and '.join(missing) or 'loss, learning rate or a score that is known'
        raise UserError(f'no log has {what}: choose --keys from {", ".join(sorted(known))}')
    save(page(runs, keys), args.out)


def read_run(path: str) -> Run:
    """Read what a training logged, in all its runs if it was interrupted.

    Args:
        path: Of its work dir, or of a file.

    Raises:
        UserError: There is nothing that mmengine logged.
    """
    given = Path(path)
    files = [given] if given.is_file() else []
    for place in _PLACES:
        files = files or sorted(given.glob(place))
    if not files:
        raise UserError(
            f'no log at {path}: name a work dir with */vis_data/scalars.json in it, or such a file'
        )
    run = Run(path)
    for file in files:
        iteration = 0
        for entry in read_entries(file):
            trains = 'iter' in entry  # a validation has no iteration, but a step
            if trains:
                iteration = entry['iter']
            else:
                run.by_epoch = entry['step'] < iteration
            for key, value in entry.items():
                if isinstance(value, Real) and math.isfinite(value):
                    values = run.train if trains else run.val
                    values.setdefault(key, {})[entry['step']] = float(value)
    if not run.train and not run.val:
        raise UserError(f'{files[0]} has no scalars of mmengine: name another log')
    return run


def page(runs: Sequence[Run], keys: Sequence[str]) -> Figure:
    """Draw a panel for each key, with a line for each run that has it."""
    across = min(len(keys), 3)
    down = math.ceil(len(keys) / across)
    figure = Figure((4.2 * across, 3 * down + 0.5 + 0.2 * len(runs)), layout='constrained')
    panels = list(figure.subplots(down, across, squeeze=False).flat)
    for key, axes in zip(keys, panels, strict=False):
        title, factor = SCORES.get(key, (_TITLES.get(key, key), 1))
        units = set()
        for number, run in enumerate(runs):
            style = dict(color=f'C{number}')
            if points := run.train.get(key):
                units.add('iteration')
            elif points := run.val.get(key):
                units.add('epoch' if run.by_epoch else 'iteration')
                style['marker'] = '.'
            else:
                continue
            steps = sorted(points)
            axes.plot(steps, [points[step] * factor for step in steps], **style)
        axes.set_title(f'{title}, %' if key in SCORES else title, fontsize=10)
        axes.set_xlabel(' or '.join(sorted(units)))
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
    for axes in panels[len(keys) :]:
        axes.set_axis_off()
    lines = [Line2D([], [], color=f'C{number}') for number in range(len(runs))]
    figure.legend(lines, [run.name for run in runs], loc='outside lower left', frameon=False)
    return figure


if __name__ == '__main__':
    sys.exit(main())
