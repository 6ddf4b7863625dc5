"""Trains a classifier, detector or segmentor from its config."""

import sys

from mmdwnet.cli.train import main

if __name__ == '__main__':
    sys.exit(main())
