"""Trains a classifier, a detector and a segmentor on digit scenes, and reports how they do."""

import os
import sys
from pathlib import Path

from mmdwnet.demo.run import main

if __name__ == '__main__':
    os.chdir(Path(__file__).parents[1])  # configs and data are named from there
    sys.exit(main())
