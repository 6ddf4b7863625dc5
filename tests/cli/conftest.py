from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mmdwnet.cli import test, train

CONFIG = str(Path(__file__).parents[1] / 'data' / 'digits' / 'dwnet_nano_digits.py')
COMMANDS = {'train': train.main, 'test': test.main}


@pytest.fixture
def config() -> str:
    """Path of the demo's classifier."""
    return CONFIG


@pytest.fixture
def data_root(tmp_path: Path) -> Path:
    """A folder tree with one picture per class and split."""
    root = tmp_path / 'imagenet'
    rng = np.random.default_rng(0)
    for split in ('train', 'val'):
        for label in range(10):
            folder = root / split / str(label)
            folder.mkdir(parents=True)
            cv2.imwrite(
                str(folder / f'{label}.png'), rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            )
    return root


@pytest.fixture
def options(data_root: Path) -> list[str]:
    """Changes that make the demo's classifier train one epoch on `data_root`."""
    return [
        *(f'{kind}_dataloader.dataset.data_root={data_root}' for kind in ('train', 'val', 'test')),
        *(f'{kind}_dataloader.num_workers=0' for kind in ('train', 'val', 'test')),
        *(f'{kind}_dataloader.persistent_workers=False' for kind in ('train', 'val', 'test')),
        'train_dataloader.batch_size=5',
        'train_cfg.max_epochs=1',
        'train_cfg.val_interval=1',
    ]


@pytest.fixture
def command(
    tmp_path: Path,
    options: list[str],
    capsys: pytest.CaptureFixture,
    forget: Callable[[], None],
) -> Callable[..., tuple[int, str]]:
    """Runs train or test on `data_root` in this process; returns the exit code and stderr."""

    def run(name: str, *args: str, changes: tuple[str, ...] = ()) -> tuple[int, str]:
        torch.manual_seed(0)
        work_dir = () if '--work-dir' in args else ('--work-dir', str(tmp_path / 'work'))
        capsys.readouterr()
        forget()
        code = COMMANDS[name]([*args, *work_dir, '--cfg-options', *options, *changes])
        return code, capsys.readouterr().err

    return run


@pytest.fixture
def refusal(command: Callable[..., tuple[int, str]], tmp_path: Path) -> Callable[..., str]:
    """Runs a command that is to refuse its input; returns the one sentence that it says."""

    def run(name: str, *args: str, changes: tuple[str, ...] = ()) -> str:
        before = sorted(tmp_path.rglob('*'))
        code, stderr = command(name, *args, changes=changes)
        assert code == 2
        assert sorted(tmp_path.rglob('*')) == before
        assert 'Traceback' not in stderr, stderr
        return stderr.strip().splitlines()[-1]

    return run
