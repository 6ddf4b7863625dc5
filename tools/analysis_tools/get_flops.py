"""Counts the parameters and multiply-adds of a classifier, detector or segmentor."""

import sys

from mmdwnet.cli.get_flops import main

if __name__ == '__main__':
    sys.exit(main())
