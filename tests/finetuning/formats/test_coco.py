import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mmdwnet.errors import UserError
from mmdwnet.finetuning.discover import describe, find_data

from ..making import HEIGHT, WIDTH, picture


def annotation(number: int, image: int, category: int = 7, **changes: object) -> dict:
    box = [2, 3, 10, 12]
    return {
        **dict(id=number, image_id=image, category_id=category, bbox=box, area=120, iscrowd=0),
        **changes,
    }


def make(path: Path, annotations: list[dict], count: int, folder: str = '', first: int = 1) -> Path:
    """A file as CVAT and others export them, with categories counted from 1, and their images."""
    images = []
    for number in range(first, first + count):
        name = f'{folder}{number:012}.jpg'
        images.append(dict(id=number, file_name=name, width=WIDTH, height=HEIGHT))
    path.parent.mkdir(parents=True, exist_ok=True)
    categories = [dict(id=7, name='cat', supercategory=''), dict(id=9, name='dog')]
    content = dict(images=images, annotations=annotations, categories=categories, licenses=[])
    path.write_text(json.dumps(content))
    return path


POLYGON = [[2, 3, 12, 3, 12, 15]]


def rle(compressed: bool) -> dict:
    pixels = np.zeros((HEIGHT, WIDTH), np.uint8, order='F')
    pixels[3:15, 2:12] = 1
    if compressed:
        encoded = coco_mask.encode(pixels)
        return {'size': [HEIGHT, WIDTH], 'counts': encoded['counts'].decode()}
    flat = pixels.ravel(order='F')
    changes = np.flatnonzero(np.diff(flat)) + 1
    return {'size': [HEIGHT, WIDTH], 'counts': np.diff([0, *changes, flat.size]).tolist()}


def test_the_layout_of_coco(tmp_path: Path) -> None:
    for split, first, count in (('train', 1, 3), ('val', 4, 2)):
        for number in range(first, first + count):
            picture(tmp_path / f'{split}2017' / f'{number:012}.jpg')
        entries = [annotation(1, first, segmentation=POLYGON), annotation(2, first + 1, 9)]
        make(tmp_path / f'annotations/instances_{split}2017.json', entries, count, '', first)
        make(tmp_path / f'annotations/captions_{split}2017.json', [], count, '', first)
    found = find_data('detect', tmp_path)
    assert [len(found.splits[split]) for split in ('train', 'val')] == [3, 2]
    assert found.classes == ['cat', 'dog']
    first = found.splits['train'][0]
    assert first.size == (WIDTH, HEIGHT)
    assert (first.objects[0].label, first.objects[0].box) == (0, (2, 3, 12, 15))
    assert not found.masks
    assert '2 objects have no outline, so that only boxes are used' in found.notes
    # One file alone: the images are beside its folder.
    alone = find_data('detect', tmp_path / 'annotations/instances_train2017.json')
    assert [len(samples) for samples in alone.splits.values()] == [2, 1]


def test_the_layout_of_roboflow(tmp_path: Path) -> None:
    for split, first in (('train', 1), ('valid', 3), ('test', 5)):
        for number in (first, first + 1):
            picture(tmp_path / split / f'{number:012}.jpg')
        entries = [annotation(0, first), annotation(1, first + 1)]
        make(tmp_path / split / '_annotations.coco.json', entries, 2, '', first)
    found = find_data('detect', tmp_path)
    assert {split: len(samples) for split, samples in found.splits.items()} == {
        'train': 2,
        'val': 2,
        'test': 2,
    }


@pytest.mark.parametrize('outline', [POLYGON, rle(True), rle(False)])
def test_outlines_give_masks(tmp_path: Path, outline: object) -> None:
    for number in (1, 2):
        picture(tmp_path / 'images' / f'{number:012}.jpg')
    entries = [annotation(number, number, segmentation=outline) for number in (1, 2)]
    make(tmp_path / 'all.json', entries, 2)
    found = find_data('detect', tmp_path)
    assert found.masks
    assert '2 objects with masks' in describe(found)
    assert found.splits['train'][0].objects[0].segmentation == outline


def test_what_is_not_trained_on_is_left_out(tmp_path: Path) -> None:
    for number in (1, 2):
        picture(tmp_path / f'{number:012}.jpg')
    entries = [
        annotation(1, 1),
        annotation(2, 1, bbox=[-5, -5, 20, 50]),
        annotation(3, 1, bbox=[50, 10, 5, 5]),
        annotation(4, 1, bbox=[5, 10, 5, 0]),
        annotation(5, 1, iscrowd=1, segmentation=rle(False)),
        annotation(6, 2),
    ]
    make(tmp_path / 'a.json', entries, 2)
    found = find_data('detect', tmp_path)
    both = found.splits['train'] + found.splits['val']
    first = next(one for one in both if one.path.name.endswith('1.jpg'))
    assert [one.box for one in first.objects] == [(2, 3, 12, 15), (0, 0, 15, HEIGHT)]
    assert sorted(found.left_out) == [
        '1 crowds and other regions that are marked to be ignored',
        '1 objects outside of their image',
        '1 objects smaller than a pixel',
        '1 parts of objects that are outside of their image',
    ]


@pytest.mark.parametrize(
    ('changes', 'told'),
    [
        ({'category_id': 8}, 'has the category 8, which is not listed'),
        ({'bbox': [1, 2, 3]}, r'has the box \[1, 2, 3\], not four finite numbers'),
        ({'segmentation': {'size': [3, 4], 'counts': [12]}}, r'the mask has the size \[3, 4\]'),
    ],
)
def test_faults(tmp_path: Path, changes: dict, told: str) -> None:
    for number in (1, 2, 3):
        picture(tmp_path / f'{number:012}.jpg')
    make(tmp_path / 'a.json', [annotation(1, 1), annotation(2, 2), annotation(3, 3, **changes)], 3)
    with pytest.raises(UserError, match=told + '.*: correct it, or give --bad-data skip'):
        find_data('detect', tmp_path)
    found = find_data('detect', tmp_path, skip=True)
    assert sum(len(one.objects) for samples in found.splits.values() for one in samples) == 2


def test_images_of_another_size_than_annotated(tmp_path: Path) -> None:
    for number in (1, 2):
        picture(tmp_path / f'{number:012}.jpg', size=(80, 60))
    make(tmp_path / 'a.json', [annotation(1, 1)], 2)
    with pytest.raises(UserError, match='has 80 x 60 pixels, but its annotation says 40 x 30'):
        find_data('detect', tmp_path)


def test_one_class_is_enough_to_detect(tmp_path: Path) -> None:
    for number in (1, 2):
        picture(tmp_path / f'{number:012}.jpg')
    path = make(tmp_path / 'a.json', [annotation(1, 1), annotation(2, 2)], 2)
    path.write_text(path.read_text().replace(', {"id": 9, "name": "dog"}', ''))
    assert find_data('detect', tmp_path).classes == ['cat']


def test_outlines_become_label_maps(tmp_path: Path) -> None:
    for number in (1, 2):
        picture(tmp_path / f'{number:012}.jpg')
    entries = [annotation(1, 1, segmentation=POLYGON), annotation(2, 2, 9, segmentation=rle(True))]
    make(tmp_path / 'a.json', [*entries, annotation(3, 1)], 2)
    found = find_data('segment', tmp_path)
    assert found.classes == ['background', 'cat', 'dog']
    assert '1 boxes without an outline' in found.left_out
    assert not any('no training image: background' in note for note in found.notes)


def test_files_that_are_not_json(tmp_path: Path) -> None:
    picture(tmp_path / '1.jpg')
    (tmp_path / 'a.json').write_text('{"images": [], "annotations": [], "categories": [')
    with pytest.raises(UserError, match='is not a JSON object'):
        find_data('detect', tmp_path)


def test_images_of_the_same_name_in_other_formats(tmp_path: Path) -> None:
    """The nearest ones are meant, as in a folder with the same data in several formats."""
    for split, first in (('train', 1), ('val', 3)):
        for number in (first, first + 1):
            for folder in (f'coco/{split}', f'yolo/images/{split}', f'maps/{split}'):
                picture(tmp_path / folder / f'{number:012}.jpg')
        entries = [annotation(1, first), annotation(2, first + 1)]
        make(tmp_path / f'coco/annotations/instances_{split}.json', entries, 2, '', first)
    found = find_data('detect', tmp_path)
    for split, samples in found.splits.items():
        assert {one.path.parent for one in samples} == {tmp_path / 'coco' / split}
