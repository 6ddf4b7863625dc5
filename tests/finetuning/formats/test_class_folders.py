from pathlib import Path

import pytest

from mmdwnet.errors import UserError
from mmdwnet.finetuning.discover import describe, find_data

from ..making import class_folders, picture, write


def test_folders_are_classes(tmp_path: Path) -> None:
    class_folders(tmp_path, tulip=5, rose=10)
    found = find_data('classify', tmp_path)
    assert found.classes == ['rose', 'tulip']
    assert {split: len(samples) for split, samples in found.splits.items()} == {
        'train': 12,
        'val': 3,
    }
    for samples in found.splits.values():
        assert all(found.classes[one.label] == one.path.parent.name for one in samples)
    assert describe(found).startswith(
        'class folders: 15 images (12 train, 3 val), 2 class(es) (rose, tulip), 40 x 30 pixels\n'
    )


@pytest.mark.parametrize('val', ['val', 'valid', 'Validation'])
def test_given_splits_are_kept(tmp_path: Path, val: str) -> None:
    for split, count in (('train', 3), (val, 2), ('test', 1)):
        class_folders(tmp_path / split, cat=count, dog=count)
    found = find_data('classify', tmp_path)
    assert {split: len(samples) for split, samples in found.splits.items()} == {
        'train': 6,
        'val': 4,
        'test': 2,
    }


def test_archives_that_unpack_into_a_folder(tmp_path: Path) -> None:
    class_folders(tmp_path / 'flowers-1.0', rose=2, tulip=2)
    picture(tmp_path / '__MACOSX/flowers-1.0/rose/0.jpg')
    write(tmp_path / '.DS_Store', '')
    assert find_data('classify', tmp_path).classes == ['rose', 'tulip']


def test_classes_named_by_numbers_are_in_their_order(tmp_path: Path) -> None:
    class_folders(tmp_path, **{str(number): 2 for number in range(11)})
    assert find_data('classify', tmp_path).classes == [str(number) for number in range(11)]


def test_words_of_splits_in_names_of_classes(tmp_path: Path) -> None:
    class_folders(tmp_path, **{'test tube': 2, 'train_station': 2})
    assert find_data('classify', tmp_path).classes == ['test tube', 'train_station']


def test_empty_folders_and_other_files_are_told(tmp_path: Path) -> None:
    class_folders(tmp_path, cat=2, dog=2, unicorn=0)
    write(tmp_path / 'LICENSE.txt', 'none')
    picture(tmp_path / 'cover.png')
    found = find_data('classify', tmp_path)
    assert found.classes == ['cat', 'dog']
    assert 'these folders have no images: unicorn' in found.notes
    assert '2 files that are no images in a class folder' in found.left_out


def test_classes_without_training_images_are_left_out(tmp_path: Path) -> None:
    class_folders(tmp_path / 'train', cat=2, dog=2)
    class_folders(tmp_path / 'val', bird=1, cat=1, dog=1)
    found = find_data('classify', tmp_path)
    assert found.classes == ['cat', 'dog']
    assert [found.classes[one.label] for one in found.splits['val']] == ['cat', 'dog']
    assert 'classes without training images: bird' in found.left_out


def test_one_class_is_not_enough(tmp_path: Path) -> None:
    class_folders(tmp_path, cat=3, dog=0)
    with pytest.raises(UserError, match="all images to train on are of one class, 'cat'"):
        find_data('classify', tmp_path)


def test_validation_data_alone_are_not_enough(tmp_path: Path) -> None:
    class_folders(tmp_path / 'val', cat=3, dog=2)
    with pytest.raises(UserError, match=r'has only val images: put those to train on into train/'):
        find_data('classify', tmp_path)
