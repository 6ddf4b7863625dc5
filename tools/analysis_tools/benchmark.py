"""Times classifiers, ours and timm's, or the operators of mmdwnet.ops, side by side."""

import sys

from mmdwnet.analysis.benchmark import main

if __name__ == '__main__':
    sys.exit(main())
