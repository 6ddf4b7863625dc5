"""The command of the study."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from mmdwnet.cli.checks import check_folder
from mmdwnet.cli.command import add_traceback, run_command
from mmdwnet.engine import stopping
from mmdwnet.errors import UserError

from .data import FASHION, make_pictures
from .report import write_report
from .running import plan, train_all, variants


def main(argv: Sequence[str] | None = None) -> int:
    """Run the study as the command line says; return 0, or 2 on bad input or a failed run."""
    return run_command(study, parse_args(argv))


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line, by default the process's."""
    parser = argparse.ArgumentParser(
        description='Train every config of configs/study on small pictures with several seeds, and '
        'compare accuracies, computation and times. If it is stopped, the same command goes on.'
    )
    parser.add_argument('--seeds', type=int, default=3, help='trainings of each variant [3]')
    parser.add_argument(
        '--only', nargs='+', metavar='VARIANT', help='configs in configs/study [all]'
    )
    parser.add_argument(
        '--fashion',
        type=Path,
        default=FASHION,
        metavar='DIR',
        help="folder of Fashion-MNIST's four files [%(default)s; without it, digits are drawn]",
    )
    parser.add_argument(
        '--imagenet',
        action='store_true',
        help="train tiny models on data/imagenet by the paper's recipe, on all GPUs",
    )
    parser.add_argument(
        '--out', type=Path, help='folder for all results [work_dirs/study, or study_imagenet]'
    )
    add_traceback(parser)
    return parser.parse_args(argv)


def study(args: argparse.Namespace) -> None:
    """Make the pictures, train, and write table and figure; go on with what an earlier call did.

    Args:
        args: The command line.

    Raises:
        UserError: The input is bad, or a run failed.
        Stopped: The study was told to stop; the same command goes on from there.
    """
    out = args.out or Path('work_dirs') / ('study_imagenet' if args.imagenet else 'study')
    known = variants()
    names = args.only or known
    if unknown := [name for name in names if name not in known]:
        raise UserError(f'there is no configs/study/{unknown[0]}.py: choose from {known}')
    if args.seeds < 1:
        raise UserError(f'--seeds {args.seeds}: give 1 or more')
    check_folder(out)
    try:
        with stopping.at_once():
            root = None if args.imagenet else make_pictures(args.fashion)
            runs = plan(names, args.seeds, out, root)
            failed = train_all(runs, max(1, torch.cuda.device_count()) if args.imagenet else 1)
            done = [run for run in runs if run not in failed]
            if done:
                print('counting and timing', flush=True)
                print(write_report(done, out))
                print(f'{out / "table.md"}, {out / "figure.png"}')
    except (KeyboardInterrupt, stopping.Stopped):
        print('stopped; the same command goes on from here', file=sys.stderr)
        raise stopping.Stopped from None
    if failed:
        raise UserError(f'{len(failed)} of {len(runs)} runs failed; the same command tries again')
