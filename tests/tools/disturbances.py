"""Hooks that disturb a training once (the next start finds the mark), and record its images."""

import os
import signal
import time
from pathlib import Path

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

KINDS = {
    'dies': lambda: os.kill(os.getpid(), signal.SIGKILL),
    'hangs': lambda: time.sleep(1000),
    'SIGTERM': lambda: os.kill(os.getpid(), signal.SIGTERM),
    'SIGUSR1': lambda: os.kill(os.getpid(), signal.SIGUSR1),
    'SIGINT': lambda: os.kill(os.getpid(), signal.SIGINT),
}


def disturb(kind: str, mark: str) -> None:
    try:
        Path(mark).touch(exist_ok=False)
    except FileExistsError:
        return
    KINDS[kind]()


@HOOKS.register_module()
class Disturbed(Hook):
    """Disturbs the last process before an iteration."""

    def __init__(self, kind: str, iteration: int, mark: str, rank: int = 1) -> None:
        self.kind, self.iteration, self.mark, self.rank = kind, iteration, mark, rank

    def before_train_iter(self, runner: object, *_: object, **__: object) -> None:
        if runner.iter == self.iteration and get_rank() == self.rank:
            disturb(self.kind, self.mark)


@HOOKS.register_module()
class Recorded(Hook):
    """Writes down the images of all processes."""

    def __init__(self, folder: str) -> None:
        self.path = Path(folder, 'images.txt')

    def before_train_iter(self, runner: object, batch_idx: int, data_batch: dict) -> None:
        with self.path.open('a') as file:
            file.write(''.join(f'{sample.img_path}\n' for sample in data_batch['data_samples']))
