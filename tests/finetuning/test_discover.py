"""Uncommon input, and what is said about it."""

import shutil
import time
from pathlib import Path

import pytest
from PIL import Image

from mmdwnet.errors import UserError
from mmdwnet.finetuning.discover import describe, find_data

from .making import class_folders, picture, write


def test_no_data(tmp_path: Path) -> None:
    with pytest.raises(UserError, match='gone does not exist; give a folder or a file'):
        find_data('classify', tmp_path / 'gone')
    for task in ('classify', 'detect', 'segment'):
        with pytest.raises(UserError, match=f'has nothing to {task}: looked for '):
            find_data(task, tmp_path)


@pytest.mark.parametrize('share', [0, 1, -0.5])
def test_shares_that_are_none(tmp_path: Path, share: float) -> None:
    with pytest.raises(UserError, match=f'--val {share}: give a share'):
        find_data('classify', class_folders(tmp_path, a=2, b=2), share)


def test_one_image(tmp_path: Path) -> None:
    picture(tmp_path / 'a.jpg')
    write(tmp_path / 'a.txt', '0 0.5 0.5 0.2 0.2')
    with pytest.raises(UserError, match=r'there is only one image, .*a.jpg: give at least 2'):
        find_data('detect', tmp_path)


def test_five_images(tmp_path: Path) -> None:
    found = find_data('classify', class_folders(tmp_path, cat=2, dog=3))
    assert [len(samples) for samples in found.splits.values()] == [3, 2]
    assert {one.label for one in found.splits['train']} == {0, 1}


def test_a_class_with_one_image(tmp_path: Path) -> None:
    found = find_data('classify', class_folders(tmp_path, cat=5, dog=5, unicorn=1))
    assert [one.path.parent.name for one in found.splits['train']].count('unicorn') == 1
    assert 'classes in one training image only: unicorn' in found.notes


def test_the_same_image_in_train_and_val(tmp_path: Path) -> None:
    class_folders(tmp_path / 'train', cat=3, dog=3)
    class_folders(tmp_path / 'val', cat=2, dog=2)
    same = tmp_path / 'train/cat/cat 0.jpg', tmp_path / 'val/dog/other.jpg'
    shutil.copy(*same)
    notes = [note for note in find_data('classify', tmp_path).notes if 'too high' in note]
    assert notes == [
        '1 val image(s) are training images, too, so that scores come out too high: '
        f'{same[1]} is {same[0]}'
    ]


def test_copies_of_an_image_are_split_off_together(tmp_path: Path) -> None:
    class_folders(tmp_path, cat=10, dog=10)
    for path in list(tmp_path.rglob('*.jpg')):
        shutil.copy(path, path.with_name(f'copy of {path.name}'))
    found = find_data('classify', tmp_path)
    contents = {
        split: {one.path.read_bytes() for one in samples} for split, samples in found.splits.items()
    }
    assert {split: len(each) for split, each in contents.items()} == {'train': 16, 'val': 4}
    assert not contents['train'] & contents['val']
    assert sum(map(len, found.splits.values())) == 40


def test_broken_images(tmp_path: Path) -> None:
    class_folders(tmp_path, cat=4, dog=4)
    truncated, empty, text = (tmp_path / f'cat/cat {number}.jpg' for number in range(3))
    truncated.write_bytes(truncated.read_bytes()[:-40])
    empty.write_bytes(b'')
    text.write_text('an image')
    with pytest.raises(UserError) as raised:
        find_data('classify', tmp_path)
    assert str(raised.value) == (
        f'{truncated} is truncated (and 2 more): correct it, or give --bad-data skip'
    )
    found = find_data('classify', tmp_path, skip=True)
    assert sum(map(len, found.splits.values())) == 5
    assert found.left_out == [
        f'{truncated} is truncated',
        f'{empty} is empty',
        f'{text} is not an image',
    ]
    for path in (tmp_path / 'dog').iterdir():
        path.write_bytes(b'')
    with pytest.raises(UserError, match="all images to train on are of one class, 'cat'"):
        find_data('classify', tmp_path, skip=True)


def test_many_faults_are_counted(tmp_path: Path) -> None:
    class_folders(tmp_path, cat=8, dog=2)
    for number in range(1, 8):
        (tmp_path / f'cat/cat {number}.jpg').write_bytes(b'')
    left_out = find_data('classify', tmp_path, skip=True).left_out
    assert len(left_out) == 6
    assert left_out[-1] == '2 more files and annotations at fault'


def test_what_is_lost_of_images(tmp_path: Path) -> None:
    class_folders(tmp_path, cat=2, dog=2)
    for number, mode in enumerate(('L', 'LA', 'RGBA', 'I;16', '1', 'CMYK')):
        picture(tmp_path / f'cat/{number}.{"jpg" if mode == "CMYK" else "png"}', mode)
    found = find_data('classify', tmp_path)
    assert sum(map(len, found.splits.values())) == 10
    assert '1 image(s) of more than 8 bits, which are loaded as 8 bits' in found.notes
    assert (
        '2 image(s) with transparency, which is dropped: the colors beneath it are loaded'
        in found.notes
    )


def test_turned_images_have_the_size_that_is_loaded(tmp_path: Path) -> None:
    import mmcv

    class_folders(tmp_path, cat=2, dog=2)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = picture(tmp_path / 'cat/turned.jpg', size=(80, 20))
    Image.open(path).save(path, exif=exif)
    found = find_data('classify', tmp_path)
    both = found.splits['train'] + found.splits['val']
    [size] = [one.size for one in both if one.path == path]
    assert size == (20, 80) == mmcv.imread(str(path)).shape[1::-1]
    assert '40 x 30 to 20 x 80 pixels' in describe(found)


@pytest.mark.filterwarnings('error')
def test_huge_images(tmp_path: Path) -> None:
    class_folders(tmp_path, cat=2, dog=2)
    with (tmp_path / 'cat/huge.pgm').open('wb') as file:
        file.write(b'P5 14000 14000 255\n')
        file.truncate(14000**2 + 19)
    found = find_data('classify', tmp_path)
    assert '40 x 30 to 14000 x 14000 pixels' in describe(found)
    assert not found.left_out


def test_odd_names(tmp_path: Path) -> None:
    class_folders(tmp_path, **{'Käse, alt': 3, '猫 — cat': 3})
    picture(tmp_path / 'Käse, alt' / 'line\nbreak.jpg')
    found = find_data('classify', tmp_path)
    assert found.classes == ['Käse, alt', '猫 — cat']
    assert '1 files whose names have line breaks or are not UTF-8' in found.left_out


def test_runs_inside_of_the_data_and_hidden_files_are_not_data(tmp_path: Path) -> None:
    class_folders(tmp_path, cat=2, dog=2)
    for place in ('run/lists', 'run/images', '.cache', '__MACOSX/cat'):
        picture(tmp_path / place / 'a.jpg')
    write(tmp_path / 'run/config.py', '')
    picture(tmp_path / 'cat/._cat 0.jpg')
    found = find_data('classify', tmp_path)
    assert found.classes == ['cat', 'dog']
    assert sum(map(len, found.splits.values())) == 4


def test_links_that_lead_back(tmp_path: Path) -> None:
    class_folders(tmp_path, cat=2, dog=2)
    (tmp_path / 'cat/all').symlink_to(tmp_path / 'cat')
    assert sum(map(len, find_data('classify', tmp_path).splits.values())) == 4


@pytest.mark.slow
def test_fifty_thousand_images(tmp_path: Path) -> None:
    content = picture(tmp_path / 'one.jpg', size=(100, 75)).read_bytes()
    for label in range(100):
        (tmp_path / 'data' / f'class {label}').mkdir(parents=True)
        for number in range(500):
            path = tmp_path / 'data' / f'class {label}' / f'{number}.jpg'
            path.write_bytes(content[:-2] + f'{label:03}{number:03}'.encode() + content[-2:])
    start = time.monotonic()
    found = find_data('classify', tmp_path / 'data')
    assert time.monotonic() - start < 60
    assert [len(samples) for samples in found.splits.values()] == [40000, 10000]
