"""Where in its data a training is, even if the number of its processes has changed on the way."""

import copy
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from mmengine.dataset import DefaultSampler, InfiniteSampler
from torch.utils.data import BatchSampler, Sampler

from .sampler import ShareSampler


@dataclass
class Stretch:
    """A part of a training in which each of some processes takes batches of one size.

    Args:
        processes: How many processes there are.
        batch_size: How many images each of their batches has.
        batches: How many batches each of them has trained on.
    """

    processes: int
    batch_size: int
    batches: int = 0

    @property
    def images(self) -> int:
        """How many images a step takes."""
        return self.processes * self.batch_size


def divisible(batches: BatchSampler, endless: bool) -> bool:
    """Return whether `left` can tell what stretches have left of a batch sampler's data.

    Args:
        batches: The batch sampler.
        endless: Whether it is to begin anew where it ends.
    """
    return type(batches.sampler) in (
        (InfiniteSampler,) if endless else (DefaultSampler, InfiniteSampler, ShareSampler)
    )


def left(batches: BatchSampler, stretches: Sequence[Stretch]) -> BatchSampler:
    """Return the batches that this process takes of what stretches of a training have left.

    Args:
        batches: The batches that it would take of all. Must be `divisible`.
        stretches: What has been trained on, in order.
    """
    for stretch in filter(lambda each: each.batches, stretches):
        done: Counter = Counter()
        for rank in range(stretch.processes):
            theirs = _with(batches, _of(batches.sampler, rank, stretch.processes))
            theirs.batch_size = stretch.batch_size
            for indices in islice(theirs, stretch.batches):
                done.update(indices)
        batches = _with(batches, _Rest(batches.sampler, done))
    return batches


def _with(batches: BatchSampler, sampler: Sampler) -> BatchSampler:
    """Return a copy of a batch sampler, with what it may have put aside, but another sampler."""
    return copy.deepcopy(batches, {id(batches.sampler): sampler})


class _Rest(Sampler[int]):
    """What is left of another sampler's data, shared out among the processes.

    Args:
        sampler: The other.
        done: How often each index has been taken.
    """

    def __init__(self, sampler: Any, done: Counter) -> None:
        self.whole = sampler
        self.dataset = sampler.dataset
        self.rank, self.world_size = sampler.rank, sampler.world_size
        self.endless = getattr(sampler, 'endless', isinstance(sampler, InfiniteSampler))
        self.done = done

    def __iter__(self) -> Iterator[int]:
        rest = self._rest()
        if not self.endless:
            found = list(rest)
            # All processes take equally many, so the first indices may be taken again.
            wanted = len(self) * self.world_size
            rest = islice(found * (wanted // max(1, len(found)) + 1), wanted)
        return islice(rest, self.rank, None, self.world_size)

    def __len__(self) -> int:
        if self.endless:
            return len(self.dataset)
        return -(-sum(1 for _ in self._rest()) // self.world_size)

    def _rest(self) -> Iterator[int]:
        done = self.done.copy()
        for index in _of(self.whole, 0, 1):
            if done[index]:
                done[index] -= 1
            else:
                yield index


def _of(sampler: Any, rank: int, processes: int) -> Any:
    """Return what a sampler is in one of so many processes."""
    if isinstance(sampler, InfiniteSampler):  # which cannot begin anew
        sampler = InfiniteSampler(sampler.dataset, sampler.shuffle, sampler.seed)
    else:
        sampler = copy.copy(sampler)
    sampler.rank, sampler.world_size = rank, processes
    if isinstance(sampler, DefaultSampler):
        size = len(sampler.dataset)
        sampler.num_samples = -(-(size if sampler.round_up else size - rank) // processes)
        sampler.total_size = sampler.num_samples * processes if sampler.round_up else size
    return sampler
