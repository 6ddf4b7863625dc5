from pathlib import Path

import pytest

from mmdwnet.errors import UserError
from mmdwnet.finetuning.discover import find_data

from ..making import picture, write


def _pictures(root: Path, count: int = 4) -> None:
    for number in range(count):
        picture(root / 'images' / f'{number}.jpg')


def _labels(root: Path, given: Path | None = None) -> dict[str, str]:
    found = find_data('classify', given or root)
    return {
        one.path.name: found.classes[one.label]
        for samples in found.splits.values()
        for one in samples
    }


WANTED = {'0.jpg': 'cat', '1.jpg': 'dog', '2.jpg': 'dog', '3.jpg': 'cat'}


@pytest.mark.parametrize(
    'text',
    [
        # With a header and without one; relative to the table, to the images, or without suffix.
        'filename,label\nimages/0.jpg,cat\nimages/1.jpg,dog\nimages/2.jpg,dog\nimages/3.jpg,cat\n',
        'images/0.jpg,cat\nimages/1.jpg,dog\nimages/2.jpg,dog\nimages/3.jpg,cat',
        'id,breed\n0,cat\n1,dog\n2,dog\n3,cat\n',
        # As Excel and pandas write them, and with a path of another machine.
        '\ufeffLabel;File name\r\ncat;0.jpg\r\ndog;1.jpg\r\ndog;2.jpg\r\ncat;3.jpg\r\n',
        ',image_path,class\n0,images\\0.jpg,cat\n1,images\\1.jpg,dog\n2,"C:\\d\\2.jpg",dog\n3,3.jpg,cat\n',
    ],
)
def test_tables_of_images(tmp_path: Path, text: str) -> None:
    _pictures(tmp_path)
    table = write(tmp_path / 'labels.csv', text)
    assert _labels(tmp_path) == _labels(tmp_path, table) == WANTED


def test_a_column_of_splits(tmp_path: Path) -> None:
    _pictures(tmp_path)
    write(
        tmp_path / 'a.csv',
        'path,label,split\n0.jpg,cat,train\n1.jpg,dog,training\n2.jpg,dog,valid\n3.jpg,cat,test\n',
    )
    found = find_data('classify', tmp_path)
    names = {split: [one.path.name for one in samples] for split, samples in found.splits.items()}
    assert names == {'train': ['0.jpg', '1.jpg'], 'val': ['2.jpg'], 'test': ['3.jpg']}


def test_a_table_for_each_split(tmp_path: Path) -> None:
    _pictures(tmp_path)
    write(tmp_path / 'train.csv', 'file,label\n0.jpg,cat\n1.jpg,dog\n')
    write(tmp_path / 'val.csv', 'file,label\n2.jpg,dog\n3.jpg,cat\n')
    found = find_data('classify', tmp_path)
    assert [one.path.name for one in found.splits['val']] == ['2.jpg', '3.jpg']


def test_odd_names(tmp_path: Path) -> None:
    names = ['a, b.jpg', 'été 1.jpg', '猫\u3000犬.jpg', ' x.jpg']
    for name in names:
        picture(tmp_path / name)
    write(tmp_path / 'l.csv', f'file,label\n"a, b.jpg",x\n{names[1]},y\n{names[2]},x\n" x.jpg",y\n')
    assert set(_labels(tmp_path)) == set(names)


def test_missing_images_are_faults(tmp_path: Path) -> None:
    _pictures(tmp_path)
    table = write(tmp_path / 'l.csv', 'f,label\n0.jpg,a\n1.jpg,b\n2.jpg,a\n9.jpg,b\n')
    told = (
        f'{table} names the image 9.jpg, which is not below {tmp_path}, or is there several times'
    )
    with pytest.raises(UserError, match=r'9.jpg') as raised:
        find_data('classify', tmp_path)
    assert str(raised.value) == f'{told}: correct it, or give --bad-data skip'
    found = find_data('classify', tmp_path, skip=True)
    assert told in found.left_out


def test_a_table_beside_class_folders(tmp_path: Path) -> None:
    for name in ('cat', 'dog'):
        picture(tmp_path / name / '0.jpg')
        picture(tmp_path / name / '1.jpg')
    write(tmp_path / 'statistics.csv', 'class,count\ncat,2\ndog,2\n')
    assert find_data('classify', tmp_path).format == 'class folders'
