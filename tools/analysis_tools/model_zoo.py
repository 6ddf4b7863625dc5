"""Writes the tables of all models, and what their metafiles say of their costs."""

import os
import sys
from pathlib import Path

from mmdwnet.analysis.model_zoo import main

if __name__ == '__main__':
    os.chdir(Path(__file__).parents[2])  # the files are named from there
    sys.exit(main())
