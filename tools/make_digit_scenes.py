"""Make the digit scenes that the demo is trained on."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Return the exit code: 0, or 2 on bad input."""
    if not (ROOT / 'demo').is_dir():
        print(
            'tools/make_digit_scenes.py works only in a checkout of mmdwnet: clone the repository '
            'and run the command there',
            file=sys.stderr,
        )
        return 2
    sys.path.insert(0, str(ROOT))
    from demo.digit_scenes import DigitSceneOptions, make_digit_scenes
    from demo.making import run

    description = 'Make the digit scenes that the demo is trained on.'
    return run(description, DigitSceneOptions, make_digit_scenes)


if __name__ == '__main__':
    sys.exit(main())
