"""Make picture sets to try finetuning on, from pictures in Debian packages."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Return the exit code: 0, or 2 on bad input."""
    if not (ROOT / 'demo').is_dir():
        print(
            'tools/make_picture_sets.py works only in a checkout of mmdwnet: clone the repository '
            'and run the command there',
            file=sys.stderr,
        )
        return 2
    sys.path.insert(0, str(ROOT))
    from demo.making import run
    from demo.picture_sets import PictureSetOptions, make_picture_sets

    description = 'Make picture sets to try finetuning on, from pictures in Debian packages.'
    return run(description, PictureSetOptions, make_picture_sets)


if __name__ == '__main__':
    sys.exit(main())
