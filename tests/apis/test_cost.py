"""Predictions cost what they cost in the libraries, measured in turn in one process."""

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import pytest

import mmdwnet

from .folders import CONFIGS

ROUNDS = 12


@pytest.mark.slow
@pytest.mark.parametrize('task', CONFIGS)
def test_a_batch_costs_what_the_library_takes(
    task: str, work_dir: Callable[..., Path], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    files = [str(tmp_path / f'{number}.jpg') for number in range(32 if task == 'classify' else 8)]
    for file in files:
        cv2.imwrite(file, rng.integers(0, 256, (224, 224, 3), dtype=np.uint8))
    model = mmdwnet.load(work_dir(task, constant=False))
    ways = {
        'library': lambda: model.inferencer(files, batch_size=8, return_datasamples=True),
        'ours': lambda: model(files, batch_size=8),
    }
    times: dict[str, list[float]] = {way: [] for way in ways}
    for way in ways.values():
        way()
    for number in range(ROUNDS):
        # Each goes first as often as the other.
        for way in sorted(ways, reverse=number % 2 == 0):
            before = time.process_time()
            ways[way]()
            times[way].append(time.process_time() - before)
    # Of the same round, as other processes disturb rounds differently.
    ratio = median(ours / theirs for theirs, ours in zip(*times.values(), strict=True))
    print(f'{task}: {ratio:.3f} times as long as in the library')
    assert ratio <= 1.1
