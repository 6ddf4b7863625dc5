"""Reads all data of a config, lists what is wrong with them, and counts the classes."""

import sys

from mmdwnet.cli.check_data import main

if __name__ == '__main__':
    sys.exit(main())
