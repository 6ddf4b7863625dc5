"""Train a classifier, detector or segmentor from its config."""

import argparse
import sys
from collections.abc import Sequence

from mmengine.config import Config
from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop

from mmdwnet.apis.building import resolve
from mmdwnet.checkpoints import fitting
from mmdwnet.checkpoints.latest import find_latest
from mmdwnet.checkpoints.loading import as_data
from mmdwnet.engine import stopping
from mmdwnet.errors import UserError

from . import environment
from .amp import DTYPES, use_amp
from .command import add_shared_options, load_config, require, run_command
from .compiling import compile_backbones
from .preflight import Built, check_last_batch, make_runner, needs_two, preflight


def main(argv: Sequence[str] | None = None) -> int:
    """Train as the command line says; return 0, or 2 on bad input."""
    return run_command(train, parse_args(argv))


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line, by default the process's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='resume from this checkpoint, or (no value, or auto) from the last in the work dir',
    )
    parser.add_argument(
        '--amp',
        nargs='?',
        const='auto',
        choices=('auto', *DTYPES),
        help='mixed precision; without a value, bfloat16 where the device has it, else float16',
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate with the batch size, from auto_scale_lr.base_batch_size',
    )
    add_shared_options(parser)
    return parser.parse_args(argv)


def train(args: argparse.Namespace) -> None:
    """Check everything, then train.

    Raises:
        UserError: The input is bad; nothing has been written then.
    """
    if environment.ended():
        return
    with as_data() as read:
        cfg = training_config(args)
        if args.check:
            check(cfg)
            print(f'{args.config} can be trained')
            return
        with environment.processes(cfg.launcher, cfg.get('env_cfg')):
            try:
                with stopping.at_once():
                    _train(args, cfg, read)
            except stopping.Stopped:
                if not environment.leave_end(stopping.EXIT_CODE):
                    raise
            except UserError:  # which would come again
                environment.leave_end(2)
                raise


def _train(args: argparse.Namespace, cfg: Config, read: dict) -> None:
    with environment.agreement():
        built = check(cfg)
    with environment.agreement():
        runner = make_runner(cfg, built, read)
        check_last_batch(runner, built.model)
    args.traceback = True  # from here on, not only the input can be at fault
    runner.train()


def training_config(args: argparse.Namespace) -> Config:
    """Read the config and merge the command line into it, ready for mmengine's Runner.

    Raises:
        UserError: Config or options are bad.
    """
    cfg = load_config(args)
    require(cfg, 'model', 'train_dataloader', 'train_cfg', 'optim_wrapper')
    _choose_start(args, cfg)
    if args.amp is not None:
        use_amp(cfg, args.amp)
    if args.auto_scale_lr:
        if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
            raise UserError(
                '--auto-scale-lr needs the batch size that the learning rate of '
                f'{args.config} is meant for: add auto_scale_lr=dict(base_batch_size=...) to it'
            )
        cfg.auto_scale_lr.enable = True
    _use_exact_loop(cfg)
    environment.adapt(cfg)
    return cfg


def _choose_start(args: argparse.Namespace, cfg: Config) -> None:
    """Set what the training starts or goes on from."""
    latest = None
    auto = args.resume == 'auto' or (cfg.get('resume') and cfg.get('load_from') is None)
    since = 0.0 if auto else environment.restarted_since()
    if since is not None:
        latest, passed = find_latest(cfg.work_dir, since)
        for reason in passed if environment.checks_files(cfg.launcher) else ():
            print(f'passed over: {reason}', file=sys.stderr)
        if latest is None and passed:
            raise UserError(
                f'{cfg.work_dir} has checkpoints, but none to resume from: name one by --resume '
                'CHECKPOINT, or train without --resume'
            )
    if latest is not None or args.resume not in (None, 'auto'):
        cfg.resume, cfg.load_from = True, latest or args.resume
    elif auto:  # there is no checkpoint yet
        cfg.resume = False


def _use_exact_loop(cfg: Config) -> None:
    """Replace either of mmengine's training loops by ours, which resumes exactly."""
    loop = cfg.train_cfg
    kind = loop.get('type') or (EpochBasedTrainLoop if loop.get('by_epoch') else IterBasedTrainLoop)
    exact = {
        EpochBasedTrainLoop: 'ResumableEpochBasedTrainLoop',
        IterBasedTrainLoop: 'ResumableIterBasedTrainLoop',
    }.get(resolve(LOOPS, kind))
    if exact is not None:
        loop.pop('by_epoch', None)
        loop.type = exact


def check(cfg: Config) -> Built:
    """Raise a UserError on what would stop the training; return its model."""
    built = preflight(cfg, ['train', *(['val'] if cfg.get('val_cfg') is not None else [])])
    model = built.model
    built.compiled = compile_backbones(model, cfg.get('compile'))
    fitting.check_pretrained(model)
    alone = cfg.launcher == 'none' and cfg.train_dataloader.get('batch_size') == 1
    if alone and needs_two(model, distributed=False):
        raise UserError(
            'the dynamic mixer cannot train on a batch of one image per process: use a batch of '
            "two or more, or norm_cfg=dict(type='SyncBN') with several processes"
        )
    if cfg.get('resume'):
        fitting.check_resumable(cfg.load_from, model)
    elif cfg.get('load_from'):
        fitting.check_some_weights(cfg.load_from, model)
    return built
