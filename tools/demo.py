"""Trains a classifier, a detector and a segmentor on digit scenes, and reports how they do."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> int:
    """Returns the exit code: 0, 2 on bad input or where a tool failed, or 130 if interrupted."""
    if not (ROOT / 'demo').is_dir():
        print('the demo needs a checkout of mmdwnet: clone it, and run make demo', file=sys.stderr)
        return 2
    os.chdir(ROOT)  # configs and data are named from there
    sys.path.insert(0, str(ROOT))
    from demo.run import main

    return main()


if __name__ == '__main__':
    sys.exit(main())
