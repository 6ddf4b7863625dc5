"""Processes that go on with a training share out what those before them have left."""

from collections import Counter
from itertools import islice

import pytest
from mmdet.datasets.samplers import AspectRatioBatchSampler
from mmengine.dataset import DefaultSampler, InfiniteSampler
from torch.utils.data import BatchSampler, Dataset

from mmdwnet.engine import ShareSampler
from mmdwnet.engine.places import Stretch, divisible, left

IMAGES = 53


class Pictures(Dataset):
    """As many pictures as there are, wide and high ones in turn of three."""

    def __len__(self) -> int:
        return IMAGES

    def get_data_info(self, index: int) -> dict:
        return dict(width=3 if index % 3 else 1, height=2)


def batches_of(kind: type, rank: int, processes: int, batch_size: int, batch_sampler: type):
    sampler = kind(Pictures(), shuffle=True, seed=3)
    sampler.rank, sampler.world_size = rank, processes
    if isinstance(sampler, DefaultSampler):
        sampler.num_samples = -(-IMAGES // processes)
        sampler.total_size = sampler.num_samples * processes
    return batch_sampler(sampler, batch_size, False)


@pytest.mark.parametrize('batch_sampler', [BatchSampler, AspectRatioBatchSampler])
@pytest.mark.parametrize('kind', [DefaultSampler, InfiniteSampler, ShareSampler])
@pytest.mark.parametrize(
    'stretches',
    [
        [Stretch(2, 4, 3)],
        [Stretch(4, 2, 2), Stretch(1, 3, 5)],
        [Stretch(3, 3, 1), Stretch(2, 2, 2), Stretch(4, 1, 3)],
    ],
)
@pytest.mark.parametrize('processes', [1, 2, 5])
def test_an_epoch_has_each_image_once(stretches, kind, batch_sampler, processes):
    seen: Counter = Counter()
    for number, stretch in enumerate(stretches):
        for rank in range(stretch.processes):
            own = batches_of(kind, rank, stretch.processes, stretch.batch_size, batch_sampler)
            for batch in islice(left(own, stretches[:number]), stretch.batches):
                seen.update(batch)
    assert sum(seen.values()) == sum(each.images * each.batches for each in stretches)
    rest = []
    for rank in range(processes):
        own = left(batches_of(kind, rank, processes, 4, batch_sampler), stretches)
        if kind is InfiniteSampler:
            # What a pass has left, in whole batches; those of one shape may have to wait.
            wanted = -(-(IMAGES - sum(seen.values())) // (4 * processes))
            rest.append([index for batch in islice(own, wanted) for index in batch])
        else:
            rest.append([index for batch in own for index in batch])
    assert len({len(indices) for indices in rest}) == 1
    seen.update(index for indices in rest for index in indices)
    if kind is not InfiniteSampler:
        assert set(seen) == set(range(IMAGES))
        assert sum(seen.values()) - IMAGES < processes  # all have equally many
    elif batch_sampler is BatchSampler:
        assert set(seen) == set(range(IMAGES))
        assert sum(seen.values()) - IMAGES < 4 * processes
    else:
        assert max(seen.values()) <= 2


def test_whose_order_is_unknown():
    assert not divisible(BatchSampler(range(9), 2, False), endless=False)
    default = BatchSampler(DefaultSampler(Pictures()), 2, False)
    assert divisible(default, endless=False)
    assert not divisible(default, endless=True)
