"""Train a model on a folder of pictures: find out what it holds, write a config, train, test."""

import argparse
import hashlib
import io
import json
import math
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path

from mmengine.config import Config

from mmdwnet.apis import hub
from mmdwnet.apis.building import build_model
from mmdwnet.checkpoints.latest import find_latest
from mmdwnet.engine import ProgressBarHook, stopping
from mmdwnet.engine.files import AtomicBackend
from mmdwnet.errors import UserError
from mmdwnet.finetuning.balance import class_weights
from mmdwnet.finetuning.config import METRICS, config_text
from mmdwnet.finetuning.discover import describe, find_data
from mmdwnet.finetuning.found import Found
from mmdwnet.finetuning.lists import write_lists
from mmdwnet.finetuning.models import NANO, choose_start, default_model, find_config
from mmdwnet.finetuning.outcomes import Outcomes
from mmdwnet.finetuning.report import write_report
from mmdwnet.finetuning.settings import choose

from . import test, train
from .checks import check_folder
from .command import add_traceback, run_command

_RECORD = 'finetune.json'


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


def finetune(args: argparse.Namespace) -> dict[str, float]:
    """Find the data, write a config, train, test and report; go on with what an earlier run did.

    Args:
        args: The command line.

    Returns:
        The metrics by name.

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


def _finetune(args: argparse.Namespace) -> dict[str, float]:
    data = Path(args.data).absolute()
    out = Path(args.out or Path('work_dirs') / f'{args.task}_{data.stem}').absolute()
    if out.is_relative_to(data):
        raise UserError(
            f'the results in {out} would lie among the data in {data}: give an --out elsewhere'
        )
    check_folder(out)
    found = find_data(args.task, data, share=args.val, skip=args.bad_data == 'skip')
    said = describe(found)
    print(said, flush=True)
    run = Run(out)
    if run.record:
        run.check(args, found)
    else:
        _write(run, args, found)
    config = str(out / 'config.py')
    if run.does('trained'):
        print(f'training; its log is {out / "log.txt"}', flush=True)
        with run.logged():
            train.train(train.parse_args([config, '--resume']))
        run.did('trained')
    outcomes = out / 'run' / 'outcomes.json'
    if run.does('tested'):
        checkpoint = best_checkpoint(out)
        print(f'testing {checkpoint}', flush=True)
        with run.logged():
            metrics = test.test(test.parse_args([config, checkpoint]), [Outcomes(outcomes)])
        run.put('results.json', {name: _number(value) for name, value in metrics.items()})
        run.did('tested')
    results = json.loads((out / 'results.json').read_text())
    cfg = Config.fromfile(config)
    report = write_report(out, cfg, found, said, results, outcomes)
    print(_summary(args.task, out, results, report))
    return results


class Run:
    """The folder of a fine-tuning, and how far it is.

    Args:
        out: The folder.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        path = out / _RECORD
        self.record = json.loads(path.read_text()) if path.is_file() else {}
        if not self.record and (out / 'run').exists():
            raise UserError(
                f'{out} has files of another command in run/: give another --out, or remove it'
            )

    def check(self, args: argparse.Namespace, found: Found) -> None:
        """Check that an earlier run had the same arguments and data.

        Raises:
            UserError: It had others.
        """
        now, before = _arguments(args), self.record['arguments']
        changed = [f'{key} {before[key]}' for key in now if before[key] != now[key]]
        if changed:
            raise UserError(
                f'{self.out} has a run of its own, with {", ".join(changed)}: give another --out, '
                'or the arguments of that run to go on with it, or edit its config.py'
            )
        if self.record['data'] != _digest(repr((found.classes, found.splits))):
            raise UserError(
                f'the data in {args.data} have changed since the run in {self.out} began: give '
                'another --out'
            )
        if self.record['config'] != self.config():
            print(f'{self.out / "config.py"} was edited, and is used as it is')

    def begin(self, args: argparse.Namespace, found: Found) -> None:
        """Note what the run is about, once all its files are there."""
        self.record = dict(
            arguments=_arguments(args),
            data=_digest(repr((found.classes, found.splits))),
            config=self.config(),
        )
        self.put(_RECORD, self.record)

    def does(self, step: str) -> bool:
        """Return whether a step is still to be done with the config as it is now."""
        return self.record.get(step) != self.config()

    def did(self, step: str) -> None:
        """Note that a step is done."""
        self.record[step] = self.config()
        self.put(_RECORD, self.record)

    def config(self) -> str:
        """Return a digest of the config."""
        return _digest((self.out / 'config.py').read_text())

    def put(self, name: str, content: dict) -> None:
        """Write a JSON file."""
        AtomicBackend().put_text(json.dumps(content, indent=2) + '\n', self.out / name)

    @contextmanager
    def logged(self) -> Iterator[None]:
        """Have everything printed into the log file; the progress bar stays visible."""
        with (
            (self.out / 'log.txt').open('a', buffering=1) as log,
            redirect_stdout(log),
            redirect_stderr(log),
        ):
            yield


def _write(run: Run, args: argparse.Namespace, found: Found) -> None:
    """Write lists and config of a new run."""
    name = args.model or default_model(args.task)
    path = find_config(args.task, name)
    why = '' if args.model else f', as there is {"no" if name == NANO[args.task] else "a"} GPU'
    start = choose_start(args.task, name, args.weights)
    print(f'{name}{why}. {start.told}{f" ({start.reason})" if start.reason else ""}')
    cfg = Config.fromfile(path)
    cfg.model.backbone.init_cfg = None  # it is built for its size alone
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        backbone = build_model(cfg).backbone
    settings = choose(
        found,
        backbone,
        name == NANO[args.task],
        start.pretrained,
        args.size,
        args.batch_size,
        args.epochs,
    )
    if settings.frozen_stages > 0:
        print(f'With few images, the first {settings.frozen_stages} of 4 stages stay frozen.')
    run.out.mkdir(parents=True, exist_ok=True)
    datasets = write_lists(found, run.out)
    if args.task == 'segment':
        settings = replace(settings, class_weight=class_weights(datasets['train']))
    inside = run.out.is_relative_to(hub.root())
    base = os.path.relpath(path, run.out) if inside else str(path)
    text = config_text(base, found, settings, datasets, start, args.bad_data == 'skip')
    AtomicBackend().put_text(text, run.out / 'config.py')
    run.begin(args, found)
    print(
        f'{settings.epochs} epochs with batches of {settings.batch_size} images of '
        f'{settings.size} pixels; all settings: {run.out / "config.py"}'
    )


def best_checkpoint(out: Path) -> str:
    """Return the best checkpoint of a run, or the last one if none was the best."""
    best = sorted((out / 'run').glob('best_*.pth'), key=lambda path: path.stat().st_mtime_ns)
    checkpoint = str(best[-1]) if best else find_latest(str(out / 'run'))[0]
    if checkpoint is None:
        raise UserError(f'{out / "run"} has no checkpoint to test: remove {out}, and begin anew')
    return checkpoint


def _arguments(args: argparse.Namespace) -> dict:
    """Return the arguments that decide about a run, by their options."""
    paths = {'data', 'weights'}
    given = {key: value for key, value in vars(args).items() if key not in ('out', 'traceback')}
    return {
        f'--{key.replace("_", "-")}': str(Path(value).absolute())
        if key in paths and value is not None and '://' not in value
        else value
        for key, value in given.items()
    }


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors='surrogateescape')).hexdigest()


def _number(value: float) -> float | None:
    """Return a metric as JSON has it, which has no NaN."""
    return None if math.isnan(value) else float(value)


def _summary(task: str, out: Path, results: dict, report: Path) -> str:
    shown = [METRICS[task], 'coco/segm_mAP']
    scores = ', '.join(f'{name} {results[name]:.4g}' for name in shown if name in results)
    config, checkpoint = out / 'config.py', best_checkpoint(out)
    tools = hub.root() / 'tools'
    return (
        f'\nvalidation: {scores or "nothing was found in any image"}\n'
        f'report:     {report}\n'
        f'predict:    python {tools}/predict.py {out} IMAGES --out drawn\n'
        f'test:       python {tools}/test.py {config} {checkpoint}\n'
        f'go on:      edit {config}, then python {tools}/train.py {config} --resume'
    )


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f'{text} is not 1 or more')
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f'{text} is not between 0 and 1')
    return value
