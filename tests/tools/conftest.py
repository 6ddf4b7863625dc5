import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


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
