"""The commands of this folder, on a small scale."""

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def run(command: str, *args: object) -> None:
    done = subprocess.run(
        [sys.executable, HERE / command, *map(str, args)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.parametrize('processes', [1, 2])
def test_killed_trainings_end_like_undisturbed_ones(tmp_path: Path, processes: int) -> None:
    run('kills.py', '--kills', 2, '--processes', processes, '--folder', tmp_path)


@pytest.mark.slow
def test_long_trainings_take_no_more_memory_and_files(tmp_path: Path) -> None:
    run('soak.py', '--iterations', 200, '--folder', tmp_path)
