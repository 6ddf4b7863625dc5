"""Small trainings that can be disturbed."""

import multiprocessing
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, TRANSFORMS

from mmdwnet.cli import train

CONFIG = str(Path(__file__).parents[1] / 'data' / 'digits' / 'dwnet_nano_digits.py')
IMAGES = 22  # 11 batches of two


@HOOKS.register_module(force=True)
class SignalAt(Hook):
    """Sends this process a signal before an iteration, and its workers, as schedulers do."""

    def __init__(self, iteration: int, number: int = signal.SIGTERM, workers: bool = False) -> None:
        self.iteration, self.number, self.workers = iteration, number, workers
        self.others = _children()  # of earlier runs

    def before_train_iter(self, runner: object, *_: object, **__: object) -> None:
        if runner.iter == self.iteration:
            if self.workers:
                pids = _children() - self.others
                assert len(pids) == 2  # for training and for validation
                # By another process, as torch's workers end quietly where the training tells them.
                subprocess.run(['kill', f'-{self.number}', *pids], check=True)
                time.sleep(0.5)
            os.kill(os.getpid(), self.number)


def _children() -> set[str]:
    return {str(child.pid) for child in multiprocessing.active_children()}


@TRANSFORMS.register_module(force=True)
class NoteRead:
    """Writes down the images that are read, from whatever process."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __call__(self, results: dict) -> dict:
        with open(self.path, 'a') as file:
            file.write(f'{results["sample_idx"]}\n')
        # What upstream's pipelines draw from.
        results['img'] = results['img'] + np.random.randint(9) + int(torch.randint(9, ()))
        return results


@TRANSFORMS.register_module(force=True)
class LoseWorker:
    """Kills or stops, once, the worker that reads an image."""

    def __init__(self, kind: str, index: int, mark: str) -> None:
        self.kind, self.index, self.mark = kind, index, Path(mark)

    def __call__(self, results: dict) -> dict:
        if results['sample_idx'] == self.index and not self.mark.exists():
            self.mark.touch()
            if self.kind == 'dies':
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(1000)
        return results


@pytest.fixture(scope='module')
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('imagenet')
    rng = np.random.default_rng(0)
    for i in range(IMAGES):
        for split in ('train', 'val'):
            (root / split / str(i % 10)).mkdir(parents=True, exist_ok=True)
            picture = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            cv2.imwrite(str(root / split / str(i % 10) / f'{i}.png'), picture)
    return root


@pytest.fixture
def run(train_in: Callable[..., int], tmp_path: Path) -> Callable[..., int]:
    """Trains for three epochs in a folder of this name; returns the exit code."""
    return partial(train_in, tmp_path)


@pytest.fixture(scope='module')
def train_in(data_root: Path, forget: Callable[[], None]) -> Callable[..., int]:
    def run(
        tmp_path: Path,
        name: str,
        *args: str,
        workers: int = 0,
        changes: tuple[str, ...] = (),
        hooks: Sequence[dict] = (),
        transforms: Sequence[dict] = (),
    ) -> int:
        forget()
        pipeline = [
            dict(type='LoadImageFromFile'),
            dict(type='NoteRead', path=str(tmp_path / f'{name}.read')),
            *transforms,
            dict(type='RandomCrop', crop_size=28, padding=2),
            dict(type='PackInputs'),
        ]
        config = tmp_path / 'disturbed.py'
        config.write_text(
            f'_base_ = {CONFIG!r}\ncustom_hooks = {list(hooks)}\n'
            f'train_dataloader = dict(dataset=dict(pipeline={pipeline}))\n'
        )
        options = [
            *(f'{kind}_dataloader.dataset.data_root={data_root}' for kind in ('train', 'val')),
            f'train_dataloader.num_workers={workers}',
            'val_dataloader.num_workers=0',
            'val_dataloader.persistent_workers=False',
            f'train_dataloader.persistent_workers={workers > 0}',
            'train_dataloader.batch_size=2',
            'train_cfg.max_epochs=3',
            'model.backbone.drop_path_rate=0.5',
            *changes,
        ]
        try:
            return train.main(
                [str(config), *args, '--work-dir', str(tmp_path / name), '--cfg-options', *options]
            )
        except SystemExit as end:
            return end.code

    return run
