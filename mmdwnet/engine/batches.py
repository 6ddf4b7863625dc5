"""Batches of a training that can go on from any of them, whoever reads them."""

import copy
import signal
from collections.abc import Callable, Iterator

from mmengine.dist import get_rank
from torch.utils.data import BatchSampler, DataLoader

from .randomness import seed

_GRACE = 30  # seconds, of a worker that was told to end
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
        skipped: How many batches to pass over when iteration begins next.
        iteration: The iteration that the first batch after these is for.
    """

    def __init__(self, batches: BatchSampler, seed: int, endless: bool) -> None:
        self.batches = batches
        self.sampler = batches.sampler
        self.batch_size = batches.batch_size
        self.drop_last = batches.drop_last
        self.seed = seed
        self.endless = endless
        self.skipped = 0
        self.iteration = 0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        rank = get_rank()
        for number, indices in enumerate(self._all(), -self.skipped):
            if number >= 0:
                yield Batch(indices, (self.seed, rank, self.iteration + number))

    def _all(self) -> Iterator[list[int]]:
        yield from self.batches
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
    if not isinstance(loader.batch_sampler, BatchSampler):
        return loader
    # A DataLoader takes no batch sampler beside a batch size, for which hooks of mmpretrain ask.
    loader = copy.copy(loader)
    vars(loader).update(
        batch_sampler=ResumableBatches(loader.batch_sampler, seed, endless),
        worker_init_fn=_WorkerInit(loader.worker_init_fn),
        # torch's default is to wait forever for a worker that hangs.
        timeout=loader.timeout or (_LONGEST if loader.num_workers else 0),
    )
    return loader


class _WorkerInit:
    """Keeps a worker alive when all processes of a run are told to stop."""

    def __init__(self, then: Callable[[int], None] | None) -> None:
        self.then = then

    def __call__(self, worker: int) -> None:
        # The training process needs its batches until it has saved, and ends its workers then.
        for number in (signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_GRACE))
        if self.then is not None:
            self.then(worker)
