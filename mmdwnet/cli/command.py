"""What all commands share: their options, the config they read, and how they end."""

import argparse
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from mmengine.config import Config, DictAction

from mmdwnet.apis import building
from mmdwnet.errors import DataError, UserError

from .environment import LAUNCHERS
from .families import check_families


def run_command(function: Callable[[argparse.Namespace], object], args: argparse.Namespace) -> int:
    """Run a command and report bad input in one sentence on stderr.

    Args:
        function: The command. It sets `args.traceback` once errors are no longer its input's.
        args: Its command line, with `traceback`, as from `add_traceback`.

    Returns:
        The exit code: 0, or 2 on bad input.
    """
    try:
        check_families()
        function(args)
    except UserError as error:
        if args.traceback and not isinstance(error, DataError):
            traceback.print_exc()
        print(error, file=sys.stderr)
        return 2
    return 0


def add_traceback(parser: argparse.ArgumentParser) -> None:
    """Add the option that every command has."""
    parser.add_argument(
        '--traceback', action='store_true', help='on bad input, print where it was found, too'
    )


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of every command that reads a config."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='changes to the config, such as optim_wrapper.optimizer.lr=0.001 or key="[1,2]"',
    )
    add_traceback(parser)


def add_shared_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that training and testing have in common."""
    parser.add_argument('--work-dir', help='folder of logs and results [work_dirs/CONFIG_NAME]')
    add_cfg_options(parser)
    parser.add_argument(
        '--launcher', choices=LAUNCHERS, default='none', help='what starts the processes'
    )
    # Older launchers pass it; torchrun sets LOCAL_RANK instead.
    parser.add_argument('--local_rank', '--local-rank', type=int, help=argparse.SUPPRESS)
    parser.add_argument(
        '--check', action='store_true', help='only check config, data and checkpoint; write nothing'
    )


def read_config(args: argparse.Namespace) -> Config:
    """Read the config that a command line names, with its changes and a `default_scope`.

    Raises:
        UserError: The config is missing, cannot be read, or is of none of the three tasks.
    """
    return building.read_config(args.config, args.cfg_options)


def load_config(args: argparse.Namespace) -> Config:
    """Read the config that a command line names, with the shared options merged into it.

    Raises:
        UserError: As from `read_config`.
    """
    cfg = read_config(args)
    cfg.launcher = args.launcher
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / Path(args.config).stem)
    return cfg


def require(cfg: Config, *keys: str) -> None:
    """Check that a config has the top-level keys that a command needs.

    Raises:
        UserError: One of them is missing or None.
    """
    missing = [key for key in keys if cfg.get(key) is None]
    if missing:
        raise UserError(f'the config {cfg.filename} has no {", ".join(missing)}: add it')
