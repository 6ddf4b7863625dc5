"""Data loaders that stop at bad data, or replace them and say so."""

import copy
import logging
from collections.abc import Callable, Generator, Iterator
from typing import Any

from mmengine.dist import all_gather_object
from mmengine.logging import print_log
from mmengine.runner import BaseLoop
from torch.utils.data import DataLoader, IterableDataset

from mmdwnet.datasets.samples import Guarded, GuardedCollate, Kept
from mmdwnet.errors import DataError

from .workers import WorkerInit

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

    dataset: Any

    def __init__(self, loader: DataLoader, classes: int = 0) -> None:
        vars(self).update(vars(loader))
        self.replace = False
        self.classes = classes
        self.left_out: list[str] = []
        self._running: Generator | None = None
        self._reports = 0
        self._seen = 0
        self._replaced = 0
        self._faults: dict[str, None] = {}  # in the order in which they were met

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Iterate over the batches.

        Raises:
            DataError: A sample is bad, or, if they are replaced, very many in a row.
        """
        self._running = self._batches()
        return self._running

    def end_workers(self) -> None:
        """End the worker processes.

        Python ends them with a signal otherwise, on which ours go on for a while.
        """
        if self._running is not None:
            self._running.close()
        self._iterator = None

    def _batches(self) -> Generator[Any, None, None]:
        for batch, places in self._guarded(self.replace):
            if batch is None:
                raise DataError(self._end(places))
            self._seen += len(places)
            self._replaced += sum(bool(faults) for faults in places)
            self._faults.update(dict.fromkeys(fault for faults in places for _, fault in faults))
            yield batch
        self.report()

    def report(self) -> None:
        """Log what was replaced since the last report, or left out, in all processes."""
        if self.left_out:
            count = len(self.left_out) + len(self.dataset)
            self._tell(
                f'{len(self.left_out)} of {count} samples are left out of the scores', self.left_out
            )
        if self.replace and self._seen:
            found = all_gather_object((self._seen, self._replaced, self._faults))
            seen, replaced = (sum(one[number] for one in found) for number in (0, 1))
            faults = {fault: None for *_, own in found for fault in own}
            self._seen, self._replaced, self._faults = 0, 0, {}
            if replaced:
                self._tell(
                    f'{replaced} of {seen} samples were bad and replaced by others', [*faults]
                )

    def _tell(self, what: str, faults: list[str]) -> None:
        self._reports += 1
        more = f'; and {len(faults) - _TOLD} more' if len(faults) > _TOLD else ''
        # The number, as mmengine's logger drops a warning that it has given before.
        told = f'{what}: {"; ".join(faults[:_TOLD])}{more} (report {self._reports} of this run)'
        print_log(told, 'current', logging.WARNING)

    def scan(self) -> dict[int, str]:
        """Read all samples once; return index and fault of the bad ones, in all processes."""
        own = [fault for _, places in self._guarded(False) for faults in places for fault in faults]
        return dict(sorted({fault for each in all_gather_object(own) for fault in each}))

    def _end(self, places: list[list[tuple[int, str]]]) -> str:
        """Return what a run says that ends at a batch."""
        (_, first), *others = max(places, key=len) if self.replace else next(filter(None, places))
        if self.replace:
            return f'{first}, and so are {len(others)} others in a row: correct or remove them'
        return f"{first}: correct or remove it, or set bad_data='skip' in the config"

    def _guarded(self, replace: bool) -> Iterator[tuple[Any, list[list[tuple[int, str]]]]]:
        loader = copy.copy(self)
        vars(loader).update(
            dataset=Guarded(self.dataset, replace, self.classes),
            collate_fn=GuardedCollate(self.collate_fn),
            worker_init_fn=WorkerInit(self.worker_init_fn),
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
