import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from demo.digit_scenes import DigitSceneOptions, make_digit_scenes

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='session')
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Few and small digit scenes; five scenes to test on, which two processes cannot share out."""
    options = DigitSceneOptions(
        cls_size=32,
        cls_every=10,
        cls_train_per_digit=1,
        cls_val_per_digit=1,
        scene_size=96,
        train_scenes=4,
        val_scenes=5,
        min_digit_size=30,
        max_digit_size=60,
    )
    return make_digit_scenes(tmp_path_factory.mktemp('data') / 'digits', options)


@pytest.fixture(scope='session')
def script() -> Callable[..., subprocess.CompletedProcess]:
    """Runs a command of tools/ on the CPU, with further environment variables."""

    def run(name: str, *args: object, cwd: Path, **variables: str) -> subprocess.CompletedProcess:
        path = ROOT / 'tools' / name
        runner = [sys.executable] if path.suffix == '.py' else []
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            port = str(free.getsockname()[1])
        environment = {
            **os.environ,
            'CUDA_VISIBLE_DEVICES': '',
            'OMP_NUM_THREADS': '1',
            'PYTHON': sys.executable,
            'PORT': port,
            'MASTER_PORT': port,
            **variables,
        }
        command = [*runner, str(path), *map(str, args)]
        return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)

    return run
