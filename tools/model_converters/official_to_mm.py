"""Converts the authors' checkpoints to OpenMMLab's naming, and back."""

import sys

from mmdwnet.cli.convert import main

if __name__ == '__main__':
    sys.exit(main())
