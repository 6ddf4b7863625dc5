"""Tests a classifier, detector or segmentor from its config and a checkpoint."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmengine.runner import Runner

from mmdwnet.apis.building import build_model
from mmdwnet.checkpoints import fitting
from mmdwnet.checkpoints.loading import as_data
from mmdwnet.checkpoints.reading import check_exists
from mmdwnet.deploy import fuse
from mmdwnet.errors import UserError

from . import checks, environment
from .command import add_shared_options, load_config, require, run_command
from .dump import dump_metric
from .pictures import draw_into


def main(argv: Sequence[str] | None = None) -> int:
    """Tests as the command line says.

    Args:
        argv: Arguments of the command; by default the process's.

    Returns:
        The exit code: 0, or 2 on bad input.
    """
    return run_command(test, parse_args(argv))


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line.

    Args:
        argv: Arguments of the command; by default the process's.

    Returns:
        The command line, as `test` takes it.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint of the model that the config describes')
    parser.add_argument('--out', help='.pkl file to write the predictions to')
    parser.add_argument('--show-dir', help='folder to draw predictions into')
    parser.add_argument(
        '--tta', action='store_true', help="test-time augmentation: the config's tta_model"
    )
    parser.add_argument(
        '--fuse', action='store_true', help="fold the DWNet's BNs into the layers beside them"
    )
    add_shared_options(parser)
    return parser.parse_args(argv)


@as_data()
def test(args: argparse.Namespace) -> dict[str, float]:
    """Checks everything, then tests.

    Args:
        args: The command line, as `parse_args` reads it.

    Returns:
        The metrics by name; none if there was only a check.

    Raises:
        UserError: The input is bad; nothing has been written then.
    """
    cfg = testing_config(args)
    check(cfg, args)
    if args.tta:
        use_tta(cfg)
    if args.fuse:
        cfg.custom_hooks = [*cfg.get('custom_hooks', []), dict(type='FuseHook')]
    if args.check:
        print(f'{args.checkpoint} can be tested')
        return {}
    with environment.processes(cfg.launcher):
        runner = Runner.from_cfg(cfg)
        if args.out is not None:
            Path(args.out).absolute().parent.mkdir(parents=True, exist_ok=True)
            runner.test_evaluator.metrics.append(dump_metric(cfg.default_scope, args.out))
        return runner.test()


def testing_config(args: argparse.Namespace) -> Config:
    """Reads the config and merges the command line into it, but for test-time augmentation.

    Args:
        args: The command line, as `parse_args` reads it.

    Returns:
        The config, ready for mmengine's Runner.

    Raises:
        UserError: Config or options are bad.
    """
    cfg = load_config(args)
    require(cfg, 'model', 'test_dataloader', 'test_cfg', 'test_evaluator')
    cfg.load_from = args.checkpoint
    cfg.resume = False
    if args.out is not None and not args.out.endswith(('.pkl', '.pickle')):
        raise UserError(f'--out {args.out}: predictions are pickled, so name a .pkl file')
    if args.show_dir is not None:
        draw_into(cfg, args.show_dir)
    if args.tta:
        require(cfg, 'tta_model', 'tta_pipeline')
        if args.show_dir is not None and cfg.default_scope == 'mmpretrain':
            raise UserError(
                "--show-dir cannot be had with --tta: mmpretrain's VisualizationHook draws single "
                'images, not their variants; leave one of the two out'
            )
    environment.adapt(cfg)
    return cfg


def check(cfg: Config, args: argparse.Namespace) -> None:
    """Finds what would stop the test, before anything is written.

    Args:
        cfg: The testing config.
        args: The command line, as `parse_args` reads it.

    Raises:
        UserError: Something would.
    """
    checks.check_processes(cfg)
    checks.check_folder(cfg.work_dir)
    if args.show_dir is not None:
        checks.check_folder(args.show_dir)
    if args.out is not None:
        checks.check_file(args.out)
    check_exists(args.checkpoint)
    checks.check_data(cfg, 'test')
    model = build_model(cfg)
    fitting.check_all_weights(args.checkpoint, model)
    if args.fuse:
        fuse(model.eval(), inplace=True)


def use_tta(cfg: Config) -> None:
    """Wraps the model of a config into its `tta_model`, fed by its `tta_pipeline`.

    Args:
        cfg: The config; changed in place.
    """
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
    dataset = cfg.test_dataloader.dataset
    while 'dataset' in dataset:
        dataset = dataset.dataset
    dataset.pipeline = cfg.tta_pipeline
