"""The checkout, for commands that use folders which no installation has."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def find_demo() -> None:
    """Make the package `demo` importable, or end the process with a message and exit code 2."""
    if not (ROOT / 'demo').is_dir():
        print(
            f'tools/{Path(sys.argv[0]).name} works only in a checkout of mmdwnet: clone the '
            'repository and run the command there',
            file=sys.stderr,
        )
        sys.exit(2)
    sys.path.insert(0, str(ROOT))
