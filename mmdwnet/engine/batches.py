"""Batches of a training that can go on from any of them, whoever reads them."""

import copy
import logging
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from mmengine.dist import get_rank, get_world_size
from mmengine.logging import print_log
from torch.utils.data import BatchSampler, DataLoader

from .places import Stretch, divisible, left
from .randomness import seed
from .workers import WorkerInit

_LONGEST = 1800  # seconds, that a batch may take


class Batch:
    """The indices of a batch, which seed the random numbers of each image before it is read.

    Thus augmentation does not depend on the worker that reads the image, nor on what it read
    before.

    Args:
        indices: Of the images.
        place: What to seed with, besides the position in the batch.
    """

    def __init__(self, indices: list[int], place: tuple[int, ...]) -> None:
        self.indices = indices
        self.place = place

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        for position, index in enumerate(self.indices):
            seed(*self.place, position)
            yield index


class ResumableBatches(BatchSampler):
    """The batches of another batch sampler, from any of them on.

    Args:
        batches: The other. Its order must depend on its sampler's seed and epoch alone.
        seed: The training's.
        endless: Whether to begin a new epoch where one ends.

    Attributes:
        stretches: What has been trained on; the last is this process's own.
        iteration: The iteration that the first batch after these is for.
    """

    def __init__(self, batches: BatchSampler, seed: int, endless: bool) -> None:
        self.batches = batches
        self.sampler = batches.sampler
        self.batch_size = batches.batch_size
        self.drop_last = batches.drop_last
        self.seed = seed
        self.endless = endless
        self.stretches = [Stretch(get_world_size(), self.batch_size)]
        self.iteration = 0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        *before, own = self.stretches
        place = self.seed, get_rank()
        rest = islice(self._all(left(self.batches, before)), own.batches, None)
        for iteration, indices in enumerate(rest, self.iteration):
            yield Batch(indices, (*place, iteration))

    def after(self, stretches: list[Stretch]) -> list[Stretch]:
        """Return stretches of a training with one of this process at the end.

        Args:
            stretches: What has been trained on, in order.
        """
        last, own = stretches[-1], Stretch(get_world_size(), self.batch_size)
        if replace(last, batches=0) == own:
            return stretches
        if divisible(self.batches, self.endless):
            return [*stretches, own]
        print_log(
            'with other processes or batches than before, the data do not go on exactly: some '
            f'images may come twice, or not at all, as {type(self.sampler).__name__} draws them',
            logger='current',
            level=logging.WARNING,
        )
        return [replace(own, batches=last.batches * last.images // own.images)]

    def position(self, stretches: list[Stretch]) -> int:
        """Return the position of the next batch in the epoch."""
        *before, own = stretches
        passed = len(self) - len(left(self.batches, before)) if before else 0
        return passed + own.batches

    def _all(self, first: BatchSampler) -> Iterator[list[int]]:
        yield from first
        epoch = 0
        while self.endless:
            epoch += 1
            if hasattr(self.sampler, 'set_epoch'):
                self.sampler.set_epoch(epoch)
            yield from self.batches


def resumable(loader: DataLoader, seed: int, endless: bool = False) -> DataLoader:
    """Return a loader like another, with batches as of `ResumableBatches`.

    Args:
        loader: The other. It is returned itself if it does not read batches by their indices.
        seed: The training's.
        endless: Whether to begin a new epoch where one ends.
    """
    batches = loader.batch_sampler
    if not isinstance(batches, BatchSampler):
        return loader
    # A DataLoader takes no batch sampler beside a batch size, for which hooks of mmpretrain ask.
    loader = copy.copy(loader)
    vars(loader).update(
        batch_sampler=ResumableBatches(batches, seed, endless),
        worker_init_fn=WorkerInit(loader.worker_init_fn),
        # torch's default is to wait forever for a worker that hangs.
        timeout=loader.timeout or (_LONGEST if loader.num_workers else 0),
    )
    return loader
