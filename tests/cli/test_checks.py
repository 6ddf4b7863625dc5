import shutil
from pathlib import Path

import pytest
from mmengine.config import Config

from mmdwnet.cli.checks import check_data
from mmdwnet.errors import UserError


def test_missing_data_root_is_refused(refusal, config, data_root: Path):
    shutil.rmtree(data_root)
    said = refusal('train', config)
    assert f'{data_root} does not exist' in said
    assert 'train/CLASS/*.jpg' in said


def test_empty_folder_of_data_is_refused(refusal, config, data_root: Path):
    for picture in (data_root / 'val').rglob('*.png'):
        picture.unlink()
    assert f'{data_root / "val"} holds no files' in refusal('train', config)


def test_pictures_without_class_folders_are_refused(refusal, config, data_root: Path):
    for folder in (data_root / 'train').iterdir():
        (folder / f'{folder.name}.png').rename(data_root / 'train' / f'{folder.name}.png')
        folder.rmdir()
    assert f'{data_root / "train"} holds no folders' in refusal('train', config)


@pytest.mark.parametrize(
    ('scope', 'layout'),
    [
        ('mmdet', 'annotations/instances_{train,val}2017.json'),
        ('mmseg', 'annotations/{training,validation}/*.png'),
    ],
)
def test_layout_of_dense_data_is_told_within_wrappers(tmp_path: Path, scope, layout):
    inner = dict(data_root=str(tmp_path / 'nowhere'), ann_file='a.json', data_prefix=dict(img='x'))
    wrapped = dict(type='RepeatDataset', dataset=dict(type='ConcatDataset', datasets=[inner]))
    cfg = Config(dict(default_scope=scope, train_dataloader=dict(dataset=wrapped)))
    with pytest.raises(UserError, match='nowhere does not exist') as error:
        check_data(cfg, 'train')
    assert layout in str(error.value)


def test_missing_annotations_are_refused(tmp_path: Path):
    (tmp_path / 'x').mkdir()
    (tmp_path / 'x' / '0.jpg').touch()
    inner = dict(data_root=str(tmp_path), ann_file='a.json', data_prefix=dict(img='x'))
    cfg = Config(dict(default_scope='mmdet', test_dataloader=dict(dataset=inner)))
    with pytest.raises(UserError, match=r'a\.json does not exist'):
        check_data(cfg, 'test')
    (tmp_path / 'a.json').touch()
    cfg.test_evaluator = dict(type='CocoMetric', ann_file=str(tmp_path / 'b.json'))
    with pytest.raises(UserError, match=r'b\.json does not exist'):
        check_data(cfg, 'test')


def test_missing_annotations_of_a_metric_are_refused(refusal, config):
    said = refusal('train', config, changes=('val_evaluator.ann_file=nowhere.json',))
    assert 'nowhere.json does not exist; set val_evaluator.ann_file' in said


@pytest.fixture
def archive(data_root: Path) -> tuple[str, ...]:
    """Changes that have training read `data_root`'s train folder from an archive instead."""
    shutil.make_archive(str(data_root / 'train'), 'zip', data_root / 'train')
    lines = [f'{label}/{label}.png\t{label}\n' for label in range(10)]
    (data_root / 'train_map.txt').write_text(''.join(lines))
    shutil.rmtree(data_root / 'train')
    options = ('type=ImageNetZip', 'data_prefix=train.zip', 'ann_file=train_map.txt')
    return tuple(f'train_dataloader.dataset.{option}' for option in options)


def test_data_in_an_archive_are_found(command, config, archive):
    assert command('train', config, '--check', changes=archive)[0] == 0


def test_a_broken_archive_is_refused(refusal, config, archive, data_root: Path):
    path = data_root / 'train.zip'
    path.write_bytes(path.read_bytes()[:-1])
    assert f'the archive {path} is broken' in refusal('train', config, changes=archive)
    path.unlink()
    assert f'the archive {path} cannot be read' in refusal('train', config, changes=archive)


def test_a_wrong_map_of_an_archive_is_refused(refusal, config, archive, data_root: Path):
    path = data_root / 'train_map.txt'
    good = path.read_text()
    path.write_text(good.replace('3/3.png', '3/4.png'))
    assert f'{path}, line 4: {data_root}/train.zip has no 3/4.png' in refusal(
        'train', config, changes=archive
    )
    path.write_text(good.replace('\t3', ' 3'))
    assert f"{path}, line 4: '3/3.png 3\\n' is not path-inside-zip<TAB>label" in refusal(
        'train', config, changes=archive
    )
    path.unlink()
    assert f'the map {path} cannot be read' in refusal('train', config, changes=archive)


def test_a_bad_option_of_an_archive_is_refused(refusal, config, archive):
    changes = (*archive, 'train_dataloader.dataset.cache=half')
    assert "cache='half': give one of" in refusal('train', config, changes=changes)


@pytest.mark.parametrize('where', ['below a file', 'a file', 'below /proc'])
def test_work_dir_that_cannot_be_written_is_refused(refusal, config, tmp_path: Path, where):
    (tmp_path / 'file').touch()
    work_dir = {
        'below a file': tmp_path / 'file' / 'work',
        'a file': tmp_path / 'file',
        'below /proc': '/proc/work',
    }[where]
    said = refusal('train', config, '--work-dir', str(work_dir))
    assert said.startswith(f'the folder {work_dir} cannot be written')


@pytest.mark.parametrize('option', ['--out', '--show-dir'])
def test_output_that_cannot_be_written_is_refused(refusal, config, tmp_path: Path, option):
    (tmp_path / 'file').touch()
    said = refusal('test', config, 'x.pth', option, str(tmp_path / 'file' / 'there' / 'x.pkl'))
    assert 'cannot be written' in said


def test_folder_in_the_place_of_predictions_is_refused(refusal, config, tmp_path: Path):
    (tmp_path / 'x.pkl').mkdir()
    assert 'it is a folder' in refusal('test', config, 'x.pth', '--out', str(tmp_path / 'x.pkl'))
