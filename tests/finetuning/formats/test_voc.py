from pathlib import Path

import pytest

from mmdwnet.errors import UserError
from mmdwnet.finetuning.discover import find_data

from ..making import picture, write

OBJECT = """
	<object>
		<name>{name}</name>
		<pose>Unspecified</pose>
		<truncated>0</truncated>
		<difficult>{difficult}</difficult>
		<bndbox>
			<xmin>{box[0]}</xmin>
			<ymin>{box[1]}</ymin>
			<xmax>{box[2]}</xmax>
			<ymax>{box[3]}</ymax>
		</bndbox>
	</object>"""
# As LabelImg writes it.
FILE = """<annotation>
	<folder>pictures</folder>
	<filename>{name}.jpg</filename>
	<path>C:\\Users\\me\\pictures\\{name}.jpg</path>
	<source>
		<database>Unknown</database>
	</source>
	<size>
		<width>{size[0]}</width>
		<height>{size[1]}</height>
		<depth>3</depth>
	</size>
	<segmented>0</segmented>{objects}
</annotation>
"""


def _object(name: str, box: tuple = (3, 4, 12, 15), difficult: int = 0) -> str:
    return OBJECT.format(name=name, box=box, difficult=difficult)


def _file(name: str, *objects: str, size: tuple[int, int] = (40, 30)) -> str:
    return FILE.format(name=name, objects=''.join(objects), size=size)


def test_the_layout_of_pascal_voc(tmp_path: Path) -> None:
    root = tmp_path / 'VOCdevkit' / 'VOC2012'
    for number in range(5):
        picture(root / 'JPEGImages' / f'2007 {number}.jpg')
        text = _file(f'2007 {number}', _object('dog'), _object('cat', difficult=1))
        write(root / 'Annotations' / f'2007 {number}.xml', text)
    write(root / 'ImageSets/Main/train.txt', '2007 0\r\n2007 1\r\n')
    write(root / 'ImageSets/Main/val.txt', '2007 2\n2007 3\n')
    write(root / 'ImageSets/Main/dog_val.txt', '2007 2  1\n2007 3 -1\n')
    found = find_data('detect', tmp_path)
    assert found.classes == ['dog']
    names = {
        split: [one.path.stem[-1] for one in samples] for split, samples in found.splits.items()
    }
    assert names == {'train': ['0', '1'], 'val': ['2', '3']}
    # Pixels are counted from 1, and the last one belongs to the box.
    assert found.splits['train'][0].objects[0].box == (2, 3, 12, 15)
    assert '5 objects that are marked as difficult' in found.left_out
    assert '1 images that belong to no split' in found.left_out


def test_files_beside_images(tmp_path: Path) -> None:
    for split in ('train', 'valid'):
        for name in ('a', 'b ü'):
            picture(tmp_path / split / f'{name}.jpg')
            write(tmp_path / split / f'{name}.xml', _file(name, _object('x'), _object('b')))
    found = find_data('detect', tmp_path)
    assert found.classes == ['b', 'x']
    for split, folder in (('train', 'train'), ('val', 'valid')):
        assert [one.path.parent.name for one in found.splits[split]] == [folder] * 2
        assert [one.label for one in found.splits[split][0].objects] == [1, 0]


@pytest.mark.parametrize(
    ('text', 'told'),
    [
        ('<annotation><object>', 'is not a file of Pascal VOC XML .*no element found'),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation/>', 'or with a document type'),
        (_file('a', _object('x', box=(1, 2, 'nan', 4))), 'not finite'),
        (_file('a', _object(' ')), 'an object has no name'),
        (_file('gone', _object('x'), size=(41, 30)), 'has 40 x 30 pixels, .* says 41 x 30'),
    ],
)
def test_faults(tmp_path: Path, text: str, told: str) -> None:
    for name in 'abc':
        picture(tmp_path / f'{name}.jpg')
        write(tmp_path / f'{name}.xml', _file(name, _object('x')))
    write(tmp_path / 'a.xml', text)
    with pytest.raises(UserError, match=told):
        find_data('detect', tmp_path)
    found = find_data('detect', tmp_path, skip=True)
    assert sum(map(len, found.splits.values())) == 2


def test_annotations_without_images(tmp_path: Path) -> None:
    write(tmp_path / 'a.xml', _file('a', _object('x')))
    with pytest.raises(UserError, match=r'a.xml names the image a.jpg, which is not below'):
        find_data('detect', tmp_path)


def test_no_objects_at_all(tmp_path: Path) -> None:
    for name in 'ab':
        picture(tmp_path / f'{name}.jpg')
        write(tmp_path / f'{name}.xml', _file(name))
    with pytest.raises(UserError, match='no image to train on shows an object'):
        find_data('detect', tmp_path)
