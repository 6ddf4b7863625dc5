"""Pascal VOC's XML files of boxes, and its lists of the images of each split."""

from pathlib import Path
from xml.etree import ElementTree

from mmdwnet.finetuning.found import Found, Object
from mmdwnet.finetuning.source import Source, numbers, split_of

from .files_of_images import read_files

_LARGEST = 2**24  # bytes


def read(source: Source) -> Found | None:
    """Return the objects in VOC's files, or None if there are no such files."""

    def parse(path: Path, label_of: dict[str, int]) -> tuple | None:
        content = path.read_bytes()
        if len(content) > _LARGEST or b'<!DOCTYPE' in content or b'<!ENTITY' in content:
            raise ValueError('too large, or with a document type')
        root = ElementTree.fromstring(content)
        if root.tag != 'annotation':
            return None
        objects = []
        for one in root.iterfind('object'):
            if (one.findtext('difficult') or '0').strip() == '1':
                source.left_out['objects that are marked as difficult'] += 1
                continue
            sides = [one.findtext(f'bndbox/{side}') for side in ('xmin', 'ymin', 'xmax', 'ymax')]
            x1, y1, x2, y2 = numbers(sides)
            name = (one.findtext('name') or '').strip()
            if not name:
                raise ValueError('an object has no name')
            label = label_of.setdefault(name, len(label_of))
            # VOC counts pixels from 1, and the last one belongs to the box.
            objects.append(Object(label, (x1 - 1, y1 - 1, x2, y2)))
        names = [root.findtext('filename') or path.stem, path.stem]
        return names, [root.findtext('size/width'), root.findtext('size/height')], objects

    paths = source.with_suffix('.xml')
    return read_files(source, 'Pascal VOC XML', paths, parse, read_lists(source, 'Main'))


def read_lists(source: Source, kind: str) -> dict[str, str]:
    """Return the split of each image that ImageSets lists, by the image's name without suffix.

    Args:
        source: Where to look.
        kind: The folder of the lists, 'Main' or 'Segmentation'.
    """
    lists = [path for path in source.files if path.parts[-3:-1] == ('ImageSets', kind)]
    # Others are of single classes, such as `cat_train.txt`, or join these.
    return {
        line.strip(): split_of(path.stem)
        for path in lists
        if path.name in ('train.txt', 'val.txt', 'test.txt')
        for line in source.read_text(path).splitlines()
        if line.strip()
    }
