"""A CSV file, or one for each split, with an image and its class in each row."""

import csv
from pathlib import Path

from mmdwnet.errors import UserError
from mmdwnet.finetuning.found import Found, Sample
from mmdwnet.finetuning.source import Source, named, split_of

from .class_folders import sort_classes

_FILE = {'file', 'filename', 'filepath', 'path', 'image', 'img', 'imagepath', 'imageid', 'id'}
_LABEL = {'label', 'labels', 'class', 'classname', 'category', 'target', 'species', 'breed'}
_SPLIT = {'split', 'subset', 'set', 'partition', 'fold'}
_TRIED = 20  # rows that tell whether a table is one of images


def read(source: Source) -> Found | None:
    """Return what CSV files list, or None if none of them lists images."""
    files = source.with_suffix('.csv', '.tsv')
    rows = [(path, *row) for path in files for row in _read_table(source, path)]
    if not rows:
        return None
    classes = sort_classes(label for _, _, _, label in rows if label)
    label_of = {name: label for label, name in enumerate(classes)}
    splits: dict[str, list[Sample]] = {}
    for path, split, name, label in rows:
        if not label:
            source.left_out['rows without a label'] += 1
        elif image := source.find_image(path, split, name):
            splits.setdefault(split, []).append(Sample(image, (0, 0), label_of[label]))
    used = dict.fromkeys(path.name for path, *_ in rows)
    return Found('classify', f'CSV ({named(used)})', classes, splits)


def _read_table(source: Source, path: Path) -> list[tuple[str, str, str]]:
    """Return split, image and label of each row, if the table lists images."""
    lines = source.read_text(path).splitlines()
    delimiter = max(',;\t', key=lines[0].count) if lines else ','
    try:
        rows = [row for row in csv.reader(lines, delimiter=delimiter) if any(row)]
    except csv.Error as error:
        raise UserError(f'{path} is not a CSV file ({error}): save it again') from error
    if not rows or len(rows[0]) < 2:
        return []
    heads = [''.join(filter(str.isalpha, name.lower())) for name in rows[0]]
    columns = [0, 1, 2 if len(rows[0]) > 2 and split_of(rows[0][2]) else -1]
    if set(heads) & (_FILE | _LABEL) and not source.look_up(path, '', rows[0][0]):
        columns = [
            next((column for column, head in enumerate(heads) if head in names), default)
            for names, default in ((_FILE, 0), (_LABEL, 1), (_SPLIT, -1))
        ]
        rows = rows[1:]
    file, label, split = columns
    width = len(heads)
    rows = [(row + [''] * width)[:width] for row in rows]
    found = [
        (split_of(path.stem if split < 0 else row[split]), row[file], row[label].strip())
        for row in rows
    ]
    known = any(source.look_up(path, split, name) for split, name, _ in found[:_TRIED])
    return found if known or source.file else []
