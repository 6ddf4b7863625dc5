"""Trains a classifier, detector or segmentor from its config."""

import argparse
from collections.abc import Sequence

from mmengine.config import Config
from mmengine.runner import Runner, find_latest_checkpoint

from mmdwnet.apis.building import build_model
from mmdwnet.checkpoints import fitting
from mmdwnet.checkpoints.loading import as_data
from mmdwnet.errors import UserError

from . import checks, environment
from .amp import DTYPES, use_amp
from .command import add_shared_options, load_config, require, run_command


def main(argv: Sequence[str] | None = None) -> int:
    """Trains as the command line says.

    Args:
        argv: Arguments of the command; by default the process's.

    Returns:
        The exit code: 0, or 2 on bad input.
    """
    return run_command(train, parse_args(argv))


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line.

    Args:
        argv: Arguments of the command; by default the process's.

    Returns:
        The command line, as `train` takes it.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from this checkpoint, or (no value, or auto) from the last in the work dir',
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
    """Checks everything, then trains.

    Args:
        args: The command line, as `parse_args` reads it.

    Raises:
        UserError: The input is bad; nothing has been written then.
    """
    cfg = training_config(args)
    with as_data():
        check(cfg)
        if args.check:
            print(f'{args.config} can be trained')
            return
        with environment.processes(cfg.launcher):
            Runner.from_cfg(cfg).train()


def training_config(args: argparse.Namespace) -> Config:
    """Reads the config and merges the command line into it.

    Args:
        args: The command line, as `parse_args` reads it.

    Returns:
        The config, ready for mmengine's Runner.

    Raises:
        UserError: Config or options are bad.
    """
    cfg = load_config(args)
    require(cfg, 'model', 'train_dataloader', 'train_cfg', 'optim_wrapper')
    if args.resume == 'auto':
        # Without a checkpoint yet, training starts as the config says, from its load_from too.
        latest = find_latest_checkpoint(cfg.work_dir)
        cfg.resume = latest is not None
        cfg.load_from = latest or cfg.get('load_from')
    elif args.resume is not None:
        cfg.resume = True
        cfg.load_from = args.resume
    if args.amp is not None:
        use_amp(cfg, args.amp)
    if args.auto_scale_lr:
        if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
            raise UserError(
                f'--auto-scale-lr needs to know the batch size that the learning rate of '
                f'{args.config} is meant for: add auto_scale_lr=dict(base_batch_size=...) to it'
            )
        cfg.auto_scale_lr.enable = True
    environment.adapt(cfg)
    return cfg


def check(cfg: Config) -> None:
    """Finds what would stop the training, before anything is written.

    Args:
        cfg: The training config.

    Raises:
        UserError: Something would.
    """
    checks.check_processes(cfg)
    checks.check_folder(cfg.work_dir)
    checks.check_data(cfg, 'train', *(['val'] if cfg.get('val_cfg') is not None else []))
    model = build_model(cfg)
    fitting.check_pretrained(model)
    checks.check_batch(model, cfg.train_dataloader.get('batch_size'), cfg.launcher != 'none')
    if cfg.get('resume'):
        checkpoint = cfg.get('load_from') or find_latest_checkpoint(cfg.work_dir)
        if checkpoint is not None:
            fitting.check_resumable(checkpoint, model)
    elif cfg.get('load_from'):
        fitting.check_some_weights(cfg.load_from, model)
