import json
from pathlib import Path

import pytest

from mmdwnet.errors import UserError
from mmdwnet.finetuning.discover import find_data
from mmdwnet.finetuning.found import Object

from ..making import HEIGHT, WIDTH, picture, write


def _file(name: str, *shapes: tuple[str, str, list]) -> str:
    """A file as LabelMe 5 writes it."""
    entries = [
        dict(label=label, points=points, group_id=None, description='', shape_type=kind, flags={})
        for kind, label, points in shapes
    ]
    content = dict(version='5.4.1', flags={}, shapes=entries, imagePath=f'{name}.jpg')
    size = dict(imageData=None, imageHeight=HEIGHT, imageWidth=WIDTH)
    return json.dumps({**content, **size}, indent=2)


TRIANGLE = ('polygon', 'sign', [[2.5, 3.0], [12.0, 3.0], [12.0, 15.0]])
RECTANGLE = ('rectangle', 'car', [[12.0, 15.0], [2.0, 3.0]])


def test_polygons_give_masks(tmp_path: Path) -> None:
    for name in 'abc':
        picture(tmp_path / f'{name}.jpg')
        write(tmp_path / f'{name}.json', _file(name, TRIANGLE, ('circle', 'x', [[1, 1], [2, 2]])))
    found = find_data('detect', tmp_path)
    assert (found.format, found.classes, found.masks) == ('LabelMe JSON', ['sign'], True)
    expected = Object(0, (2.5, 3, 12, 15), [[2.5, 3, 12, 3, 12, 15]])
    assert found.splits['train'][0].objects == (expected,)
    assert "3 shapes of the type 'circle'" in found.left_out


def test_rectangles_give_boxes(tmp_path: Path) -> None:
    for split in ('train', 'val'):
        picture(tmp_path / 'images' / split / 'a.jpg')
        write(tmp_path / 'json' / split / 'a.json', _file('a', RECTANGLE))
    found = find_data('detect', tmp_path)
    assert not found.masks
    assert [len(samples) for samples in found.splits.values()] == [1, 1]
    assert found.splits['val'][0].path.parent.name == 'val'
    assert found.splits['val'][0].objects == (Object(0, (2, 3, 12, 15)),)


@pytest.mark.parametrize(
    'text', ['{"shapes": 5}', '{"shapes"', _file('a', ('polygon', 'x', [[1, 'y']]))]
)
def test_faults(tmp_path: Path, text: str) -> None:
    for name in 'abc':
        picture(tmp_path / f'{name}.jpg')
        write(tmp_path / f'{name}.json', _file(name, TRIANGLE))
    write(tmp_path / 'a.json', text)
    with pytest.raises(UserError, match=r'a.json is not a file of LabelMe JSON'):
        find_data('detect', tmp_path)
    assert sum(map(len, find_data('detect', tmp_path, skip=True).splits.values())) == 2


def test_outlines_of_too_few_points_are_left_out(tmp_path: Path) -> None:
    for name in 'ab':
        picture(tmp_path / f'{name}.jpg')
        line = ('polygon', 'sign', [[2, 3], [12, 15]])
        write(tmp_path / f'{name}.json', _file(name, TRIANGLE, line))
    found = find_data('detect', tmp_path)
    assert found.masks
    assert '2 outlines of less than three points' in found.left_out
