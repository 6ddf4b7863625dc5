"""Compare local attention and depth-wise convolutions on small pictures, as the paper does."""

import sys

from checkout import ROOT, find_demo


def main() -> int:
    """Return the exit code: 0, 2 on bad input or where a run failed, or 75 if stopped."""
    find_demo()
    sys.path.insert(0, str(ROOT / 'tools/analysis_tools'))  # counting and timing
    from demo.study.command import main

    return main()


if __name__ == '__main__':
    sys.exit(main())
