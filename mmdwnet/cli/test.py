"""Test a classifier, detector or segmentor from its config and a checkpoint."""

import argparse
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.registry import MODELS, DefaultScope

from mmdwnet.checkpoints import fitting
from mmdwnet.checkpoints.loading import as_data
from mmdwnet.deploy import fuse
from mmdwnet.errors import UserError

from . import environment
from .command import add_shared_options, load_config, require, run_command
from .dump import dump_metric
from .pictures import draw_into
from .preflight import Built, make_runner, preflight


def main(argv: Sequence[str] | None = None) -> int:
    """Test as the command line says; return 0, or 2 on bad input."""
    return run_command(test, parse_args(argv))


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line, by default the process's."""
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


def test(args: argparse.Namespace, metrics: Sequence[BaseMetric] = ()) -> dict[str, float]:
    """Check everything, then test, and return the metrics by name (none with --check).

    Args:
        args: The command line.
        metrics: Metrics to compute besides those of the config.

    Returns:
        The metrics by name.

    Raises:
        UserError: The input is bad; nothing has been written then.
    """
    cfg = testing_config(args)
    with as_data() as read:
        if args.check:
            check(cfg, args)
            print(f'{args.checkpoint} can be tested')
            return {}
        with environment.processes(cfg.launcher, cfg.get('env_cfg')):
            with environment.agreement():
                built = check(cfg, args)
            if args.tta:
                use_tta(cfg, built)
            if args.fuse:
                cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), dict(type='FuseHook')]
            with environment.agreement():
                runner = make_runner(cfg, built, read)
                if args.out is not None:
                    Path(args.out).absolute().parent.mkdir(parents=True, exist_ok=True)
                    runner.test_evaluator.metrics.append(dump_metric(cfg.default_scope, args.out))
                for metric in metrics:
                    metric.dataset_meta = runner.test_evaluator.dataset_meta
                    runner.test_evaluator.metrics.append(metric)
            args.traceback = True  # from here on, not only the input can be at fault
            return runner.test()


def testing_config(args: argparse.Namespace) -> Config:
    """Read the config and merge the command line into it, except for `use_tta`.

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
                "--show-dir does not work with --tta: mmpretrain's VisualizationHook draws single "
                'images, not their variants; leave one of the two out'
            )
    environment.adapt(cfg)
    return cfg


def check(cfg: Config, args: argparse.Namespace) -> Built:
    """Raise a UserError on what would stop the test; return its model."""
    folders = [args.show_dir] if args.show_dir is not None else []
    built = preflight(cfg, ['test'], folders, [args.out] if args.out is not None else [])
    fitting.check_all_weights(args.checkpoint, built.model)
    if args.fuse:
        fuse(built.model.eval())
    return built


def use_tta(cfg: Config, built: Built) -> None:
    """Wrap a model, and its config, into the config's `tta_model`, fed by `tta_pipeline`."""
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        built.model = MODELS.build(cfg.tta_model, default_args=dict(module=built.model))
    # A copy, as reading a class out of a pure-Python config would keep it from the dump.
    wrapped = deepcopy(cfg.tta_model)
    wrapped.module = cfg.model
    cfg.model = wrapped
    dataset = cfg.test_dataloader.dataset
    while 'dataset' in dataset:
        dataset = dataset.dataset
    dataset.pipeline = cfg.tta_pipeline
