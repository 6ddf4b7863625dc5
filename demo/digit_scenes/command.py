"""The command line of tools/make_digit_scenes.py."""

import argparse
import sys
from dataclasses import fields
from functools import partial
from pathlib import Path

from mmdwnet.errors import UserError

from .make import make_digit_scenes
from .options import DigitSceneOptions


def parse_args() -> argparse.Namespace:
    """Return the command line, with one option per field of `DigitSceneOptions`."""
    parser = argparse.ArgumentParser(
        description='Make the digit scenes that the demo is trained on.'
    )
    parser.add_argument('root', type=Path, help='folder to make')
    parser.add_argument('--force', action='store_true', help='replace a set with other options')
    for field in fields(DigitSceneOptions):
        name = '--' + field.name.replace('_', '-')
        parser.add_argument(name, type=int, default=field.default, help='default: %(default)s')
    return parser.parse_args()


def main() -> int:
    """Make the set that the command line asks for.

    Returns:
        The exit code: 0, or 2 on bad input.
    """
    args = vars(parse_args())
    root, force = args.pop('root'), args.pop('force')
    try:
        options = DigitSceneOptions(**args)
        make_digit_scenes(root, options, force=force, log=partial(print, flush=True))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0
