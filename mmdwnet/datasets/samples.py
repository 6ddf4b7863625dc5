"""Data sets whose bad samples come out as data, to be counted and replaced, not as errors."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch.utils.data import Dataset, Subset

from .contents import Expected, find_fault, find_faulty_mask
from .images import explain_failure, find_flaw

_TRIES = 100  # of samples in a row


class BadSampleError(Exception):
    """A file or an annotation is at fault, not the program; the message says which and why."""


class Guarded(Dataset):
    """A data set that returns each sample with the faults met on the way to it.

    Args:
        dataset: The data set. It is not changed.
        replace: Whether to return another sample, drawn by numpy's generator, for a bad one.
        classes: How many classes there are at least, whatever the data set says.
        note: Called with each sample as loaded, before it is augmented.
    """

    def __init__(
        self,
        dataset: Any,
        replace: bool = False,
        classes: int = 0,
        note: Callable[[dict], None] | None = None,
    ) -> None:
        self.dataset = _with_checks(dataset, classes, note)
        self.tries = _TRIES if replace else 1

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Any, list[tuple[int, str]]]:
        """Return a sample, None if it and all that were tried instead are bad, and their faults.

        Returns:
            The sample, and index and fault of each bad one.
        """
        faults: list[tuple[int, str]] = []
        for _ in range(self.tries):
            try:
                return self.dataset[index], faults
            except BadSampleError as bad:
                faults.append((index, str(bad)))
            index = np.random.randint(len(self))
        return None, faults


class GuardedCollate:
    """Makes a batch of what a `Guarded` data set returns.

    Args:
        collate: Makes a batch of samples.
    """

    def __init__(self, collate: Callable) -> None:
        self.collate = collate

    def __call__(self, items: Sequence[tuple]) -> tuple[Any, list[list[tuple[int, str]]]]:
        """Return the batch, None if a sample is missing, and the faults at each place in it."""
        samples = [sample for sample, _ in items]
        whole = all(sample is not None for sample in samples)
        return self.collate(samples) if whole else None, [faults for _, faults in items]


class Kept(Subset):
    """Some samples of a data set, with all its other properties.

    Args:
        dataset: The data set.
        indices: Of the samples.
    """

    dataset: Any

    def get_data_info(self, index: int) -> dict:
        """Return what is known of a sample before its files are read."""
        return self.dataset.get_data_info(self.indices[index])

    def __getattr__(self, name: str) -> Any:
        if name.startswith('__') or name == 'dataset':
            raise AttributeError(name)
        return getattr(self.dataset, name)


def leaves(dataset: Any) -> list:
    """Return the data sets within wrappers such as RepeatDataset and ConcatDataset."""
    inner = [each for _, found in _inner(dataset) for each in found]
    return [leaf for each in inner for leaf in leaves(each)] if inner else [dataset]


def _inner(dataset: Any) -> list[tuple[str, list]]:
    """Return the attributes of a wrapper that hold data sets."""
    held = getattr(dataset, '__dict__', {})
    found = [('datasets', held.get('datasets'))]
    found += [(name, [held.get(name)]) for name in ('dataset', '_dataset')]
    return [
        (name, list(value))
        for name, value in found
        # Not all of OpenMMLab's are torch's.
        if value and all(isinstance(one, Dataset) or hasattr(one, 'full_init') for one in value)
    ]


def _with_checks(dataset: Any, classes: int, note: Callable | None) -> Any:
    """Return a data set that differs from another in its pipelines alone."""
    changes: dict[str, Any] = {}
    for name, found in _inner(dataset):
        checked = [_with_checks(each, classes, note) for each in found]
        changes[name] = checked if name == 'datasets' else checked[0]
    if not changes and callable(getattr(dataset, 'pipeline', None)):
        changes['pipeline'] = _CheckedPipeline(dataset, classes, note)
    if not changes:
        return dataset  # of a kind that is not known
    # Some of mmengine's cannot be copied by `copy`.
    copied = object.__new__(type(dataset))
    vars(copied).update({**vars(dataset), **changes})
    return copied


class _CheckedPipeline:
    """The pipeline of a data set, which raises `BadSampleError` where the data are at fault."""

    def __init__(self, dataset: Any, classes: int, note: Callable | None) -> None:
        # Importing these imports this package.
        from mmcv.transforms import LoadAnnotations, LoadImageFromFile
        from mmengine.dataset import Compose

        transforms = getattr(dataset.pipeline, 'transforms', [dataset.pipeline])
        steps: list[Callable] = []
        for transform in transforms:
            steps.append(transform)
            if isinstance(transform, LoadImageFromFile | LoadAnnotations):
                steps.append(self._check)
        self.pipeline = Compose(steps)
        named = getattr(dataset, 'metainfo', {}).get('classes')
        self.expected = Expected(
            boxes=any(getattr(each, 'with_bbox', False) for each in transforms),
            masks=any(getattr(each, 'with_mask', False) for each in transforms),
            classes=max(len(named), classes) if named else None,
            ignore_index=getattr(dataset, 'ignore_index', 255),
        )
        self.note = note
        self.faults = getattr(dataset, 'annotation_faults', {})
        self.backend_args = next(
            (each.backend_args for each in transforms if getattr(each, 'backend_args', None)), None
        )

    def __call__(self, info: dict) -> Any:
        if (fault := self.faults.get(info.get('img_id'))) is not None:
            raise BadSampleError(fault)
        image, label_map = info.get('img_path'), info.get('seg_map_path')
        if isinstance(image, str) and (flaw := find_flaw(image)):
            raise BadSampleError(f'{image} {flaw}')
        try:
            return self.pipeline(info)
        except BadSampleError:
            raise
        except Exception as error:
            for path, decoder in (image, 'cv2'), (label_map, 'pillow'):
                if path and (why := explain_failure(path, self.backend_args, decoder)):
                    raise BadSampleError(f'{path} {why}') from error
            if fault := find_faulty_mask(info):
                raise BadSampleError(fault) from error
            raise  # the data are sound: the program is at fault

    def _check(self, results: dict) -> dict:
        fault = find_fault(results, self.expected)
        if fault is not None:
            raise BadSampleError(fault)
        if self.note is not None:
            self.note(results)
        return results
