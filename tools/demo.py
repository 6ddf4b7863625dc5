"""Train a classifier, a detector and a segmentor on digit scenes, and report their scores."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Return the exit code: 0, 2 on bad input or where a tool failed, or 130 if interrupted."""
    if not (ROOT / 'demo').is_dir():
        print(
            'tools/demo.py works only in a checkout of mmdwnet: clone the repository and run '
            'make demo there',
            file=sys.stderr,
        )
        return 2
    os.chdir(ROOT)  # paths of configs and data are relative to it
    sys.path.insert(0, str(ROOT))
    from demo.run import main

    return main()


if __name__ == '__main__':
    sys.exit(main())
