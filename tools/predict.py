"""Predicts with a trained classifier, detector or segmentor."""

import sys

from mmdwnet.cli.predict import main

if __name__ == '__main__':
    sys.exit(main())
