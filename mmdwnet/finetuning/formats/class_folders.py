"""Images sorted into one folder for each class, with or without folders of splits above."""

from collections.abc import Iterable

from mmdwnet.finetuning.found import Found, Sample
from mmdwnet.finetuning.source import Source, named, split_of


def read(source: Source) -> Found | None:
    """Return what class folders hold, or None if there are none."""
    folders = [] if source.file else source.folders(source.root)
    # Class folders can have such words in their names, too, as in 'test tubes'.
    tops = {one: split_of(one.name) for one in folders if one.name.isalpha() and split_of(one.name)}
    images = [
        (split, folder.name, source.images_in(folder))
        for top, split in (tops or {source.root: ''}).items()
        for folder in (source.folders(top) if tops else folders)
    ]
    used = sum(len(found) for _, _, found in images)
    if not used:
        return None
    if empty := sorted({name for _, name, found in images if not found}):
        source.notes.append(f'these folders have no images: {named(empty)}')
    if rest := len(source.files) - used:
        source.left_out['files that are no images in a class folder'] += rest
    classes = sort_classes(name for _, name, found in images if found)
    splits: dict[str, list[Sample]] = {}
    for split, name, found in images:
        samples = [Sample(path, (0, 0), classes.index(name)) for path in found]
        splits.setdefault(split, []).extend(samples)
    return Found('classify', 'class folders', classes, splits)


def sort_classes(names: Iterable[str]) -> list[str]:
    """Return the different names of classes in order, which is that of numbers for numbers."""
    different = set(names)
    numeric = all(name.isdecimal() for name in different)
    return sorted(different, key=lambda name: (int(name) if numeric else 0, name))
