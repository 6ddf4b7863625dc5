"""COCO's JSON files of instances, one for each split or one for all."""

import io
from contextlib import redirect_stdout
from pathlib import Path

from mmdwnet.errors import UserError
from mmdwnet.finetuning.found import Found, Object, Sample
from mmdwnet.finetuning.source import Source, split_of

BACKGROUND = 'background'


def read(source: Source) -> Found | None:
    """Return the objects in COCO's files, or None if there are no such files."""
    return _read(source, 'detect', {})


def read_as_maps(source: Source) -> Found | None:
    """Return the same for label maps that are drawn from the outlines of the objects."""
    return _read(source, 'segment', {BACKGROUND: 0})


def _read(source: Source, task: str, label_of: dict[str, int]) -> Found | None:
    files = [path for path in source.with_suffix('.json') if _is_coco(path)]
    # COCO has captions and keypoints of the same images in other files.
    files = [path for path in files if path.name.startswith('instances')] or files
    background = frozenset(label_of.values())  # which is in all label maps
    splits: dict[str, list[Sample]] = {}
    for path in files:
        from mmdwnet.datasets.coco import CheckedCOCO  # needs mmdet

        split = split_of(path.stem) or source.split(path) if len(files) > 1 else ''
        with redirect_stdout(io.StringIO()):  # pycocotools tells of each step
            coco = CheckedCOCO(str(path))
        source.faults += coco.found
        names = {one['id']: one['name'] for one in coco.dataset['categories']}
        for name in names.values():
            label_of.setdefault(name, len(label_of))
        for one in coco.dataset['images']:
            image = source.find_image(path, split, one['file_name'])
            if image is None:
                continue
            objects = []
            for each in coco.imgToAnns[one['id']]:
                (x, y, width, height), outline = each['bbox'], each.get('segmentation') or None
                if task == 'detect' and (each.get('iscrowd') or each.get('ignore')):
                    source.left_out['crowds and other regions that are marked to be ignored'] += 1
                elif task == 'segment' and not outline:
                    source.left_out['boxes without an outline'] += 1
                else:
                    box = (x, y, x + width, y + height)
                    objects.append(Object(label_of[names[each['category_id']]], box, outline))
            size = round(one['width']), round(one['height'])
            splits.setdefault(split, []).append(
                Sample(image, size, objects=tuple(objects), labels=background)
            )
    return Found(task, 'COCO JSON', list(label_of), splits) if files else None


def _is_coco(path: Path) -> bool:
    """Return whether a file has the lists of COCO's files, without reading what they hold."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f'{path} cannot be read: {error.strerror}') from error
    return all(key in content for key in (b'"images"', b'"annotations"', b'"categories"'))
