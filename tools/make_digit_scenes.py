"""Makes the digit scenes that the demo is trained on."""

import argparse
import sys
from dataclasses import fields
from functools import partial
from pathlib import Path

from mmdwnet.errors import UserError

ROOT = Path(__file__).parents[1]
if not (ROOT / 'demo').is_dir():
    sys.exit('digit scenes need a checkout of mmdwnet, whose demo/ makes them: clone it')
sys.path.insert(0, str(ROOT))

from demo.digit_scenes import DigitSceneOptions, make_digit_scenes  # noqa: E402


def parse_args() -> argparse.Namespace:
    """Returns the command line, with one option per field of `DigitSceneOptions`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('root', type=Path, help='folder to make')
    parser.add_argument('--force', action='store_true', help='replace a set of other options')
    for field in fields(DigitSceneOptions):
        name = '--' + field.name.replace('_', '-')
        parser.add_argument(name, type=int, default=field.default, help='default: %(default)s')
    return parser.parse_args()


def main() -> int:
    """Returns the exit code: 0, or 2 on bad input."""
    args = vars(parse_args())
    root, force = args.pop('root'), args.pop('force')
    try:
        options = DigitSceneOptions(**args)
        make_digit_scenes(root, options, force=force, log=partial(print, flush=True))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
