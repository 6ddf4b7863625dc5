"""Data loaders that stop at bad data, or replace them and say so."""

import copy
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from mmengine.dist import all_gather_object
from mmengine.logging import print_log
from mmengine.runner import BaseLoop
from torch.utils.data import DataLoader, IterableDataset

from mmdwnet.datasets.samples import Guarded, GuardedCollate, Kept
from mmdwnet.errors import DataError

_TOLD = 5  # faults that a line in the log gives


class CheckedLoader(DataLoader):
    """A loader of the same batches as another, from which bad data cannot come.

    To hooks it looks like the other: data set, collate function and samplers are the same.

    Args:
        loader: The other.
        classes: How many classes there are at least, whatever the data set says.

    Attributes:
        replace: Whether another sample takes the place of a bad one; else, a bad one ends the run.
        left_out: Faults of the samples that `leave_out_bad` has left out.
    """

    def __init__(self, loader: DataLoader, classes: int = 0) -> None:
        vars(self).update(vars(loader))
        self.replace = False
        self.classes = classes
        self.left_out: list[str] = []
        self._seen = 0
        self._replaced: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Any]:
        """Iterate over the batches.

        Raises:
            DataError: A sample is bad, or, if they are replaced, very many in a row.
        """
        for batch, size, faults in self._guarded(self.replace):
            if batch is None:
                many = f', and so are {len(faults) - 1} others in a row' if self.replace else ''
                advice = '' if self.replace else ", or set bad_data='skip' in the config"
                raise DataError(f'{faults[0][1]}{many}: correct or remove it{advice}')
            self._seen += size
            self._replaced.update(fault for _, fault in faults)
            yield batch
        self.report()

    def report(self) -> None:
        """Log what was replaced since the last report, or left out, in all processes."""
        if self.left_out:
            count = len(self.left_out) + len(self.dataset)
            _tell(
                f'{len(self.left_out)} of {count} samples are left out of the scores', self.left_out
            )
        if self.replace and self._seen:
            found = all_gather_object((self._seen, self._replaced))
            seen, replaced = (
                sum(seen for seen, _ in found),
                sum((one for _, one in found), Counter()),
            )
            self._seen, self._replaced = 0, Counter()
            if replaced:
                _tell(
                    f'{replaced.total()} bad samples among {seen} were replaced by others',
                    list(replaced),
                )

    def scan(self) -> dict[int, str]:
        """Read all samples once; return index and fault of the bad ones, in all processes."""
        own = [fault for _, _, faults in self._guarded(False) for fault in faults]
        return dict(sorted({fault for each in all_gather_object(own) for fault in each}))

    def _guarded(self, replace: bool) -> Iterator[tuple[Any, int, list[tuple[int, str]]]]:
        loader = copy.copy(self)
        vars(loader).update(
            dataset=Guarded(self.dataset, replace, self.classes),
            collate_fn=GuardedCollate(self.collate_fn),
        )
        iterator = super(CheckedLoader, loader).__iter__()
        self._iterator = loader._iterator  # with workers that persist
        return iterator


def checked(loader: DataLoader, classes: int = 0) -> DataLoader:
    """Return a `CheckedLoader`, or the loader itself if it does not read samples by their indices.

    Args:
        loader: The loader.
        classes: As for `CheckedLoader`.
    """
    if loader.batch_sampler is None or isinstance(loader.dataset, IterableDataset):
        return loader
    return CheckedLoader(loader, classes)


def leave_out_bad(loop: BaseLoop, build: Callable[[Kept], DataLoader]) -> None:
    """Leave bad samples out of an evaluation, in all processes.

    Scores of images that cannot be read would be wrong, and mmengine needs as many results from
    each process as there are samples.

    Args:
        loop: The loop, whose loader is a `CheckedLoader`.
        build: Makes a loader of the same kind for other data.

    Raises:
        DataError: All samples are bad.
    """
    dataset = loop.dataloader.dataset
    bad = loop.dataloader.scan()
    if not bad:
        return
    kept = [index for index in range(len(dataset)) if index not in bad]
    if not kept:
        raise DataError(
            f'all {len(bad)} samples are bad, the first one: {next(iter(bad.values()))}'
        )
    loop.dataloader = build(Kept(dataset, kept))
    loop.dataloader.left_out = list(bad.values())
    for metric in loop.evaluator.metrics:
        # mmdet's CocoMetric would count what it is not shown as missed.
        if getattr(metric, 'img_ids', ()) is None:
            metric.img_ids = [dataset.get_data_info(index)['img_id'] for index in kept]


def _tell(what: str, faults: list[str]) -> None:
    more = f'; and {len(faults) - _TOLD} more' if len(faults) > _TOLD else ''
    print_log(f'{what}: {"; ".join(faults[:_TOLD])}{more}', 'current', logging.WARNING)
