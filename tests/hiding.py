"""An interpreter that does not find some packages."""

import subprocess
import sys
from collections.abc import Collection

_HIDE = """
import importlib.machinery
import sys

hidden = {hidden}
find = importlib.machinery.PathFinder.find_spec

def find_spec(name, path=None, target=None):
    return None if name.partition('.')[0] in hidden else find(name, path, target)

importlib.machinery.PathFinder.find_spec = find_spec
"""
OPENMMLAB = {'mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmpretrain'}


def run_without(hidden: Collection[str], script: str) -> str:
    """Run a script that does not find the packages, but their names as `hidden`; return stdout."""
    script = _HIDE.format(hidden=set(hidden)) + script
    done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
