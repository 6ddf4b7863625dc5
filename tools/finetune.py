"""Trains a model on a folder of pictures."""

import sys

from mmdwnet.cli.finetune import main

if __name__ == '__main__':
    sys.exit(main())
