"""Train a classifier, a detector and a segmentor on digit scenes, and report their scores."""

import os
import sys

from checkout import ROOT, find_demo


def main() -> int:
    """Return the exit code: 0, 2 on bad input or where a tool failed, or 130 if interrupted."""
    find_demo()
    os.chdir(ROOT)  # paths of configs and data are relative to it
    from demo.run import main

    return main()


if __name__ == '__main__':
    sys.exit(main())
