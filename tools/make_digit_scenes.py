"""Make the digit scenes that the demo is trained on."""

import sys

from checkout import find_demo


def main() -> int:
    """Return the exit code: 0, or 2 on bad input."""
    find_demo()
    from demo.digit_scenes import DigitSceneOptions, make_digit_scenes
    from demo.making import run

    return run(str(__doc__), DigitSceneOptions, make_digit_scenes)


if __name__ == '__main__':
    sys.exit(main())
