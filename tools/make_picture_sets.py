"""Make picture sets to try finetuning on, from pictures in Debian packages."""

import sys

from checkout import find_demo


def main() -> int:
    """Return the exit code: 0, or 2 on bad input."""
    find_demo()
    from demo.making import run
    from demo.picture_sets import PictureSetOptions, make_picture_sets

    return run(str(__doc__), PictureSetOptions, make_picture_sets)


if __name__ == '__main__':
    sys.exit(main())
