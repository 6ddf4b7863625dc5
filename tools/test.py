"""Tests a classifier, detector or segmentor from its config and a checkpoint."""

import sys

from mmdwnet.cli.test import main

if __name__ == '__main__':
    sys.exit(main())
