"""Order of the images where each process keeps to its share of them."""

from collections.abc import Iterator

import torch
from mmengine.dataset import DefaultSampler
from mmengine.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class ShareSampler(DefaultSampler):
    """Gives each process the same images in each epoch, in another order if they are shuffled.

    mmengine's DefaultSampler shares the images out anew in each epoch, so that a process which has
    only its share in memory (`ImageNetZip` with `cache='part'`) seldom has the image it needs. Here
    image i is the business of process i modulo the number of processes.

    Args:
        dataset: The data set.
        shuffle: Whether to shuffle.
        seed: Of the shuffling, the same in all processes; by default drawn by the first of them.
        round_up: Whether processes that are one image short take one of theirs twice, so that all
            have equally many.
    """

    def __iter__(self) -> Iterator[int]:
        """Returns the indices of this process's images in the present epoch."""
        order = torch.arange(len(self.dataset))
        if self.shuffle:
            # The same for all, of which each takes its own: neighbours are not kept together.
            generator = torch.Generator().manual_seed(self.seed + self.epoch)
            order = torch.randperm(len(self.dataset), generator=generator)
        share = order[order % self.world_size == self.rank].tolist()
        if self.round_up:
            share += (share or order.tolist())[: self.num_samples - len(share)]
        return iter(share)
