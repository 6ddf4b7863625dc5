import shutil
from pathlib import Path

import pytest
from mmdet.datasets import CocoDataset
from mmengine.config import Config
from mmpretrain.datasets import CustomDataset, ImageNet

from mmdwnet.cli.checks import check_data
from mmdwnet.errors import UserError


def test_missing_data_root_is_refused(refusal, config, data_root: Path):
    shutil.rmtree(data_root)
    said = refusal('train', config)
    assert f'{data_root} does not exist' in said
    assert 'train/CLASS/*.jpg' in said


def test_link_to_nowhere_is_told(refusal, config, data_root: Path):
    data_root.rename(data_root.with_name('moved'))
    data_root.symlink_to('moved_again')
    said = refusal('train', config)
    assert f'{data_root} is a link to moved_again, which does not exist' in said


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
    ('scope', 'kind', 'prefix', 'layout'),
    [
        ('mmdet', 'CocoDataset', 'img', 'annotations/instances_{train,val}2017.json'),
        ('mmseg', 'ADE20KDataset', 'img_path', 'annotations/{training,validation}/*.png'),
    ],
)
def test_layout_of_dense_data_is_told_within_wrappers(tmp_path: Path, scope, kind, prefix, layout):
    inner = dict(type=kind, data_root=str(tmp_path / 'nowhere'), data_prefix={prefix: 'x'})
    wrapped = dict(type='RepeatDataset', dataset=dict(type='ConcatDataset', datasets=[inner]))
    cfg = Config(dict(default_scope=scope, train_dataloader=dict(dataset=wrapped)))
    with pytest.raises(UserError, match='nowhere does not exist') as error:
        check_data(cfg, 'train')
    assert layout in str(error.value)


def test_missing_annotations_are_refused(tmp_path: Path):
    (tmp_path / 'x').mkdir()
    (tmp_path / 'x' / '0.jpg').touch()
    inner = dict(
        type='CocoDataset',
        data_root=str(tmp_path),
        ann_file='a.json',
        data_prefix=dict(img='x'),
    )
    cfg = Config(dict(default_scope='mmdet', test_dataloader=dict(dataset=inner)))
    with pytest.raises(UserError, match=r'a\.json does not exist'):
        check_data(cfg, 'test')
    (tmp_path / 'a.json').touch()
    cfg.test_evaluator = dict(type='CocoMetric', ann_file=str(tmp_path / 'b.json'))
    with pytest.raises(UserError, match=r'b\.json does not exist'):
        check_data(cfg, 'test')


def test_missing_annotations_of_a_metric_are_refused(refusal, config):
    changes = ('val_evaluator.type=mmdet.CocoMetric', 'val_evaluator.ann_file=nowhere.json')
    said = refusal('train', config, changes=changes)
    assert 'nowhere.json does not exist; set val_evaluator.ann_file' in said


class OwnDataset(CocoDataset):
    """Finds its files in its own way."""

    def load_data_list(self) -> list[dict]:
        return []


class OwnOptions(CustomDataset):
    """Has options that decide where its files are."""

    def __init__(self, version: int) -> None:
        super().__init__(data_root=f'v{version}')


@pytest.mark.parametrize(
    ('scope', 'dataset'),
    [
        ('mmpretrain', dict(type='CIFAR10', data_root='nowhere', split='train')),
        ('mmpretrain', dict(type='CUB', data_root='nowhere', split='train')),
        ('mmpretrain', dict(type=OwnOptions, version=3)),
        ('mmpretrain', dict(type='ImageNet', data_root='s3://nowhere', split='train')),
        ('mmpretrain', dict(type='ImageNet', data_root='{root}', split='train')),
        ('mmpretrain', dict(type=ImageNet, data_prefix='{root}/train', data_root='')),
        (
            'mmpretrain',
            dict(type='CustomDataset', data_prefix='{root}/train/flat', with_label=False),
        ),
        ('mmdet', dict(type=OwnDataset, data_root='nowhere', ann_file='a.json')),
        (
            'mmdet',
            dict(
                type='CocoDataset',
                data_root='nowhere',
                ann_file='{root}/a.json',
                data_prefix=dict(img='{root}/train'),
            ),
        ),
        (
            'mmdet',
            dict(type=CocoDataset, data_root=None, ann_file='{root}/a.json', data_prefix=dict()),
        ),
        (
            'mmdet',
            dict(
                type='CocoDataset',
                data_root='nowhere',
                backend_args=dict(backend='petrel'),
                ann_file='a.json',
            ),
        ),
        (
            'mmdet',
            dict(
                type='ConcatDataset',
                datasets=[dict(type='CocoDataset', ann_file='{root}/a.json')] * 2,
            ),
        ),
        (
            'mmseg',
            dict(
                type='ADE20KDataset',
                data_root='{root}',
                ann_file='splits/a.txt',
                data_prefix=dict(img_path='train', seg_map_path='train'),
            ),
        ),
        ('mmseg', dict(type='ADE20KDataset', data_prefix=dict(img_path='{root}/train'))),
    ],
)
def test_what_is_valid_upstream_is_not_refused(data_root: Path, monkeypatch, scope, dataset):
    monkeypatch.chdir(data_root)
    for name in ('a.json', 'splits/a.txt', 'train/flat/a.png'):
        (data_root / name).parent.mkdir(exist_ok=True)
        (data_root / name).touch()

    def fill(node):
        if isinstance(node, dict):
            return {key: fill(value) for key, value in node.items()}
        if isinstance(node, list):
            return [fill(each) for each in node]
        return node.replace('{root}', str(data_root)) if isinstance(node, str) else node

    check_data(
        Config(dict(default_scope=scope, train_dataloader=dict(dataset=fill(dataset)))), 'train'
    )


def test_labels_of_test_images_are_not_needed(data_root: Path):
    prefix = dict(img_path='train', seg_map_path='nowhere')
    inner = dict(type='ADE20KDataset', data_root=str(data_root), data_prefix=prefix)
    loader = dict(dataset=inner)
    cfg = Config(dict(default_scope='mmseg', train_dataloader=loader, test_dataloader=loader))
    check_data(cfg, 'test')
    with pytest.raises(UserError, match='nowhere does not exist'):
        check_data(cfg, 'train')


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
