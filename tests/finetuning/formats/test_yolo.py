from pathlib import Path

import pytest

from mmdwnet.errors import UserError
from mmdwnet.finetuning.discover import find_data
from mmdwnet.finetuning.found import Found, Object

from ..making import picture, write

# The middle of an image of 40 x 30, 20 x 15 large, and its corners.
BOX, OUTLINE = '0 0.5 0.5 0.5 0.5\n', '1 0.25 0.25 0.75 0.25 0.75 0.75\n'
ULTRALYTICS = """# Ultralytics YOLO
path: ../datasets/pets # dataset root dir
train: images/train # train images (relative to 'path')
val: images/val
test: # test images (optional)

names:
  0: cat
  1: dog
"""
ROBOFLOW = """train: ../train/images
val: ../valid/images
test: ../test/images

nc: 2
names: ['cat', 'dog']
"""


def _fill(root: Path, folders: tuple[str, str], texts: dict[str, str | None]) -> None:
    for name, text in texts.items():
        picture(root / folders[0] / f'{name}.jpg')
        if text is not None:
            write(root / folders[1] / f'{name}.txt', text)


def _objects(found: Found) -> dict[str, tuple[Object, ...]]:
    return {one.path.stem: one.objects for samples in found.splits.values() for one in samples}


def test_the_layout_of_ultralytics(tmp_path: Path) -> None:
    write(tmp_path / 'data.yaml', ULTRALYTICS)
    _fill(tmp_path, ('images/train', 'labels/train'), {'a': BOX + '1 0.9 0.5 0.4 0.2\n', 'b': None})
    _fill(tmp_path, ('images/val', 'labels/val'), {'c': ''})
    for given in (tmp_path, tmp_path / 'data.yaml'):
        found = find_data('detect', given)
        assert found.classes == ['cat', 'dog']
        assert [len(found.splits[split]) for split in ('train', 'val')] == [2, 1]
        first, second = _objects(found)['a']
        assert (first.label, first.box) == (0, (10, 7.5, 30, 22.5))
        assert (second.label, second.box) == (1, pytest.approx((28, 12, 40, 18)))
        assert not found.masks
        assert '1 training image(s) show no object' in found.notes


def test_the_layout_of_roboflow(tmp_path: Path) -> None:
    write(tmp_path / 'data.yaml', ROBOFLOW)
    _fill(tmp_path, ('train/images', 'train/labels'), {'a': OUTLINE, 'b': OUTLINE})
    _fill(tmp_path, ('valid/images', 'valid/labels'), {'c': OUTLINE})
    found = find_data('detect', tmp_path)
    assert found.masks
    [one] = _objects(found)['a']
    assert one == Object(1, (10, 7.5, 30, 22.5), [[10, 7.5, 30, 7.5, 30, 22.5]])
    assert any('names test images in ../test/images, which is not there' in n for n in found.notes)


def test_lists_of_images_with_windows_line_ends(tmp_path: Path) -> None:
    write(tmp_path / 'my.yml', 'train: train.txt\r\nval: val.txt\r\nnames: [cat, dog]\r\n')
    _fill(tmp_path, ('images', 'labels'), {'a b': BOX.replace('\n', '\r\n'), 'é': BOX})
    write(tmp_path / 'train.txt', './images/a b.jpg\r\n')
    write(tmp_path / 'val.txt', './images/é.jpg\r\n')
    found = find_data('detect', tmp_path)
    assert [one.path.name for one in found.splits['val']] == ['é.jpg']
    assert _objects(found)['a b'][0].box == (10, 7.5, 30, 22.5)


def test_boxes_beside_images_in_pixels(tmp_path: Path) -> None:
    _fill(tmp_path, ('', ''), {'a': '1 20 15 20 15\n', 'b': '0 10 10 4 4\n'})
    found = find_data('detect', tmp_path)
    assert found.classes == ['class 0', 'class 1']
    assert _objects(found)['a'][0].box == (10, 7.5, 30, 22.5)
    assert 'the boxes are read as pixels: they are too large for parts of images' in found.notes
    assert 'no file has names of the classes, so they are numbered' in found.notes
    write(tmp_path / 'classes.txt', 'cat\ndog\n\n')  # as LabelImg writes it
    assert find_data('detect', tmp_path).classes == ['cat', 'dog']


@pytest.mark.parametrize(
    ('line', 'told'),
    [
        ('2 0.5 0.5 0.1 0.1', 'has the class 2, but there are 2 classes, counted from 0'),
        ('0 0.5 0.5 0.1', "has '0 0.5 0.5 0.1' in line 2, which is not a class and the four"),
        ('0 0.5 0.5 nan 0.1', "has '0 0.5 0.5 nan 0.1' in line 2"),
    ],
)
def test_faults(tmp_path: Path, line: str, told: str) -> None:
    write(tmp_path / 'data.yaml', 'train: images\nnames: [cat, dog]\n')
    _fill(tmp_path, ('images', 'labels'), {'a': BOX + line, 'b': BOX})
    with pytest.raises(UserError, match=told):
        find_data('detect', tmp_path)
    found = find_data('detect', tmp_path, skip=True)
    assert len(_objects(found)['a']) == 1
    assert any(told in one for one in found.left_out)


def test_missing_labels_and_images(tmp_path: Path) -> None:
    write(tmp_path / 'data.yaml', 'train: images\nval: pictures\nnames: [cat]\n')
    _fill(tmp_path, ('images', 'labels'), {'a': None, 'b': None})
    with pytest.raises(UserError, match=r'names val images in .*pictures, which is not there'):
        find_data('detect', tmp_path)
    write(tmp_path / 'data.yaml', 'train: images\nnames: [cat]\n')
    with pytest.raises(UserError, match='is of 2 images, but none has a text file in labels/'):
        find_data('detect', tmp_path)


def test_yaml_that_runs_code_is_not_run(tmp_path: Path) -> None:
    _fill(tmp_path, ('images', 'labels'), {'a': BOX, 'b': BOX})
    write(tmp_path / 'data.yaml', 'names: !!python/object/apply:os.system ["touch here"]\n')
    with pytest.raises(UserError, match='is not a YAML file'):
        find_data('detect', tmp_path)


@pytest.mark.parametrize('names', ['{1: cat, 2: dog}', 'cat', '{a: cat}', '{1000000000: cat}'])
def test_names_without_numbers_from_0(tmp_path: Path, names: str) -> None:
    _fill(tmp_path, ('images', 'labels'), {'a': BOX, 'b': BOX})
    write(tmp_path / 'data.yaml', f'train: images\nnames: {names}\n')
    with pytest.raises(UserError, match='has names that are not numbered from 0'):
        find_data('detect', tmp_path)
