"""Validation data from training data: the same on each machine, balanced by class."""

from collections import Counter
from collections.abc import Callable
from hashlib import sha256

from .found import Sample


def labels_of(sample: Sample) -> frozenset[int]:
    """Return the classes in a sample; -1 alone where there is none."""
    labels = sample.labels | {one.label for one in sample.objects}
    if sample.label is not None:
        labels |= {sample.label}
    return labels or frozenset({-1})


def split_off(
    samples: list[Sample], share: float, name: Callable[[Sample], str]
) -> tuple[list[Sample], list[Sample]]:
    """Split off a share of the images of each class, at least one of two.

    The rarest classes come first, as their images are part of the shares of others. Which images
    are taken depends on their names alone; those of one name stay together.

    Args:
        samples: All samples.
        share: The share of each class to split off, between 0 and 1.
        name: Returns the name of a sample, which is the same on each machine.

    Returns:
        The rest and those split off, in the order given.
    """
    found: dict[str, frozenset[int]] = {}
    for sample in samples:
        found[name(sample)] = found.get(name(sample), frozenset()) | labels_of(sample)
    order = sorted(found, key=lambda one: sha256(one.encode()).digest())
    labels = [found[one] for one in order]
    total = Counter(label for one in labels for label in one)
    holders: dict[int, list[int]] = {label: [] for label in total}
    for index, one in enumerate(labels):
        for label in one:
            holders[label].append(index)
    taken: set[int] = set()
    away: Counter[int] = Counter()
    for label in sorted(total, key=lambda label: (total[label], label)):
        wanted = max(1, round(share * total[label]))
        for index in holders[label]:
            if away[label] >= wanted:
                break
            # One image of each class stays.
            if index not in taken and all(total[one] - away[one] > 1 for one in labels[index]):
                taken.add(index)
                away.update(labels[index])
    chosen = {order[index] for index in taken or {0}}
    return (
        [sample for sample in samples if name(sample) not in chosen],
        [sample for sample in samples if name(sample) in chosen],
    )
