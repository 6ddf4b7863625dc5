"""What formats with one file for each image have in common."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from mmdwnet.errors import UserError
from mmdwnet.finetuning.found import Found, Object, Sample
from mmdwnet.finetuning.source import Source, numbers

# From a file and the labels of names so far: names of the image, its size, its objects.
Parse = Callable[[Path, dict[str, int]], tuple[list[str], list, list[Object]] | None]


def read_files(
    source: Source, kind: str, paths: Iterable[Path], parse: Parse, listed: dict[str, str]
) -> Found | None:
    """Return the objects in annotation files, with the classes sorted; None if no file has any.

    Args:
        source: Where to look for the images.
        kind: Name of the format.
        paths: The files, and others that have the same suffix.
        parse: Reads a file, or returns None if it is of another kind. What it raises is a fault.
        listed: The split of each image, by the image's name without suffix, if there are lists.
    """
    label_of: dict[str, int] = {}
    samples: list[tuple[str, Sample]] = []
    for path in paths:
        try:
            parsed = parse(path, label_of)
            if parsed is None:
                continue
            names, sides, objects = parsed
            width, height = numbers(side or 0 for side in sides)
        except UserError:
            raise
        except Exception as error:  # whatever the content happens to lead to
            source.faults.append(f'{path} is not a file of {kind} ({error!r:.100})')
            continue
        split = listed.get(path.stem, '') if listed else source.split(path)
        if image := source.find_image(path, split, *names):
            size = int(width), int(height)
            samples.append((split, Sample(image, size, objects=tuple(objects))))
    classes = sorted(label_of)
    label = {old: classes.index(name) for name, old in label_of.items()}
    splits: dict[str, list[Sample]] = {}
    for split, sample in samples:
        sorted_ = tuple(replace(one, label=label[one.label]) for one in sample.objects)
        splits.setdefault(split, []).append(replace(sample, objects=sorted_))
    return Found('detect', kind, classes, splits) if splits else None
