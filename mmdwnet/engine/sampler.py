"""The order of images when each process keeps to its share of them."""

from collections.abc import Iterator

import torch
from mmengine.dataset import DefaultSampler
from mmengine.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class ShareSampler(DefaultSampler):
    """Give each process the same images in every epoch, in a new order if shuffled.

    mmengine's DefaultSampler distributes the images anew in each epoch, so a process that holds
    only its share in memory (`ImageNetZip` with `cache='part'`) seldom has the image it needs.
    Here, image i belongs to process i modulo the number of processes.

    Args:
        dataset: The data set.
        shuffle: Whether to shuffle.
        seed: For shuffling, the same in all processes; by default drawn by the first of them.
        round_up: Whether a process that is one image short repeats one of its own, so that all
            have equally many.
    """

    def __iter__(self) -> Iterator[int]:
        """Return the indices of this process's images in the current epoch."""
        order = torch.arange(len(self.dataset))
        if self.shuffle:
            # One permutation for all, of which each takes its own images.
            generator = torch.Generator().manual_seed(self.seed + self.epoch)
            order = torch.randperm(len(self.dataset), generator=generator)
        share = order[order % self.world_size == self.rank].tolist()
        if self.round_up:
            share += (share or order.tolist())[: self.num_samples - len(share)]
        return iter(share)
