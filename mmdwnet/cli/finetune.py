"""Train a model on a folder of pictures: find out what it holds, write a config, train, test."""

import argparse
import io
import json
import math
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import MODELS

from mmdwnet.apis import hub
from mmdwnet.checkpoints.latest import find_best
from mmdwnet.engine import ProgressBarHook, stopping
from mmdwnet.errors import UserError
from mmdwnet.finetuning.balance import class_weights
from mmdwnet.finetuning.config import METRICS, config_text
from mmdwnet.finetuning.discover import describe, find_data
from mmdwnet.finetuning.found import Found
from mmdwnet.finetuning.lists import write_lists
from mmdwnet.finetuning.models import NANO, choose_start, default_model, find_config
from mmdwnet.finetuning.outcomes import Outcomes
from mmdwnet.finetuning.record import Record
from mmdwnet.finetuning.report import write_report
from mmdwnet.finetuning.settings import choose

from . import test, train
from .checks import check_folder
from .command import add_traceback, run_command


def main(argv: Sequence[str] | None = None) -> int:
    """Fine-tune as the command line says; return 0, or 2 on bad input."""
    return run_command(finetune, parse_args(argv))


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line, by default the process's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('task', choices=tuple(NANO), help='what the model is for')
    parser.add_argument('data', help='folder or file of the data, in any of the known formats')
    parser.add_argument(
        '--model', help='one of mmdwnet.list_models(), or a nano model [tiny with a GPU, else nano]'
    )
    parser.add_argument(
        '--weights', help='checkpoint to start from [the released weights, if they can be had]'
    )
    parser.add_argument('--epochs', type=_count, help='how often each image is trained on')
    parser.add_argument('--batch-size', type=_count, help='images per step [what fits into memory]')
    parser.add_argument('--size', type=_count, help='image size in pixels [from the data]')
    parser.add_argument('--out', help='folder for all results [work_dirs/TASK_DATA]')
    parser.add_argument(
        '--val',
        type=_share,
        default=0.2,
        help='share of the images for validation, if the data have none set apart [0.2]',
    )
    parser.add_argument(
        '--bad-data',
        choices=('stop', 'skip'),
        default='stop',
        help='at images that cannot be read, stop, or leave them out [stop]',
    )
    add_traceback(parser)
    return parser.parse_args(argv)


def finetune(args: argparse.Namespace) -> dict[str, float | None]:
    """Find the data, write a config, train, test and report; go on with what an earlier run did.

    Args:
        args: The command line.

    Returns:
        The metrics by name; None for those that are not numbers.

    Raises:
        UserError: The input is bad.
        Stopped: The run was told to stop; the same command goes on from there.
    """
    try:
        with stopping.at_once():
            return _finetune(args)
    except (KeyboardInterrupt, stopping.Stopped):
        print('\nstopped; the same command goes on from here', file=sys.stderr)
        raise stopping.Stopped from None
    finally:
        ProgressBarHook.close()


def _finetune(args: argparse.Namespace) -> dict[str, float | None]:
    args.data = os.path.abspath(args.data)
    if args.weights is not None and '://' not in args.weights:
        args.weights = os.path.abspath(args.weights)
    out = Path(os.path.abspath(args.out or f'work_dirs/{args.task}_{Path(args.data).stem}'))
    if out.is_relative_to(args.data):
        raise UserError(
            f'the results in {out} would lie among the data in {args.data}: give an --out elsewhere'
        )
    check_folder(out)
    record = Record(out)
    found = find_data(args.task, Path(args.data), args.val, skip=args.bad_data == 'skip')
    said = describe(found)
    print(said, flush=True)
    if not record.begun:
        _write(record, args, found)
    record.check(_arguments(args), found)
    if record.edited:
        print(f'{record.config} was edited, and is used as it is')
    if record.needs('training'):
        print(f'training; its log is {out / "log.txt"}', flush=True)
        with _logged(out):
            train.train(train.parse_args([str(record.config), '--resume']))
        record.done('training')
    outcomes = out / 'run/outcomes.json'
    if record.needs('test'):
        checkpoint = _best(out)
        print(f'testing {checkpoint}', flush=True)
        with _logged(out):
            args_of_test = test.parse_args([str(record.config), checkpoint])
            metrics = test.test(args_of_test, [Outcomes(outcomes)])
        # JSON has no NaN.
        numbers = {key: None if math.isnan(n) else float(n) for key, n in metrics.items()}
        record.write('results.json', json.dumps(numbers, indent=2))
        record.done('test')
    results = json.loads((out / 'results.json').read_text())
    cfg = Config.fromfile(record.config)
    report = write_report(out, cfg, found, said, results, outcomes)
    _print_end(args.task, record.config, results, report)
    return results


def _write(record: Record, args: argparse.Namespace, found: Found) -> None:
    """Write lists and config of a new run."""
    name = args.model or default_model(args.task)
    path = find_config(args.task, name)
    nano = name == NANO[args.task]
    with redirect_stdout(io.StringIO()):  # what the libraries say of themselves
        start = choose_start(args.task, name, args.weights)
        cfg = Config.fromfile(path)
    why = '' if args.model else f', as there is {"no" if nano else "a"} GPU'
    print(f'{name}{why}. {start.told}{f" ({start.reason})" if start.reason else ""}')
    backbone = MODELS.build({**cfg.model.backbone, 'init_cfg': None})  # for its size alone
    settings = choose(
        found, backbone, nano, start.pretrained, args.size, args.batch_size, args.epochs
    )
    datasets = write_lists(found, record.out)
    if args.task == 'segment':
        settings = replace(settings, class_weight=class_weights(datasets['train']))
    inside = record.out.is_relative_to(hub.root())
    base = os.path.relpath(path, record.out) if inside else str(path)
    text = config_text(base, found, settings, datasets, start, args.bad_data == 'skip')
    record.begin(_arguments(args), found, text)
    frozen = f'; {settings.frozen_stages} of 4 stages are frozen' * (settings.frozen_stages > 0)
    print(
        f'epochs: {settings.epochs}, images in a batch: {settings.batch_size}, image size: '
        f'{settings.size} pixels{frozen}; all settings: {record.config}'
    )


def _best(out: Path) -> str:
    """Return the checkpoint to test."""
    best, _ = find_best(out / 'run')
    if best is None:
        raise UserError(f'{out / "run"} has no checkpoint to test: remove {out}, and begin anew')
    return best


@contextmanager
def _logged(out: Path) -> Iterator[None]:
    """Have everything printed into the log file; the progress bar stays visible."""
    with (
        (out / 'log.txt').open('a', buffering=1) as log,
        redirect_stdout(log),
        redirect_stderr(log),
    ):
        yield


def _arguments(args: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments that decide about a run, by their options."""
    given = {key: value for key, value in vars(args).items() if key not in ('out', 'traceback')}
    return {f'--{key.replace("_", "-")}': value for key, value in given.items()}


def _print_end(task: str, config: Path, results: dict, report: Path) -> None:
    known = {METRICS[task], 'coco/segm_mAP'} & {key for key, value in results.items() if value}
    scores = ', '.join(f'{name} {results[name]:.4g}' for name in sorted(known))
    tools, out = hub.root() / 'tools', config.parent
    test_command = _command(tools / 'test.py', config, _best(out))
    print(
        f'\nvalidation: {scores or "the model finds nothing yet"}\n'
        f'report:     {report}\n'
        f'predict:    {_command(tools / "predict.py", out)} IMAGES --out drawn\n'
        f'test:       {test_command}\n'
        f'go on:      edit {config}, then {_command(tools / "train.py", config)} --resume'
    )


def _command(*words: str | Path) -> str:
    """Return a Python command, with paths from the current folder where they are in it."""
    here = Path.cwd()
    short = [os.path.relpath(one) if Path(one).is_relative_to(here) else str(one) for one in words]
    return shlex.join(['python', *short])


def _count(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f'{text} is not 1 or more')
    return value


def _share(text: str) -> float:
    if not 0 < (value := float(text)) < 1:
        raise argparse.ArgumentTypeError(f'{text} is not between 0 and 1')
    return value
