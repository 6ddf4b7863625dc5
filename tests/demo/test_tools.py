"""The demo's tools where there is no demo: as they are in an installed package."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    'tool', ['demo.py', 'make_digit_scenes.py', 'make_picture_sets.py', 'study.py']
)
def test_tool_without_a_checkout_says_what_to_do_and_writes_nothing(tool, tmp_path):
    installed = tmp_path / 'site-packages/mmdwnet/.mim/tools'
    shutil.copytree(CHECKOUT / 'tools', installed, ignore=shutil.ignore_patterns('__pycache__'))
    before = set(tmp_path.rglob('*'))
    done = subprocess.run(
        [sys.executable, str(installed / tool), 'digits'],
        capture_output=True,
        text=True,
        env={**os.environ, 'PYTHONPATH': str(CHECKOUT)},
        cwd=tmp_path,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert f'{tool} works only in a checkout of mmdwnet: clone the repository' in done.stderr
    assert set(tmp_path.rglob('*')) == before
