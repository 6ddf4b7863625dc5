from pathlib import Path

import pytest
import torch
from mmengine import fileio
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import DATASETS, DefaultScope
from mmengine.runner import Runner, set_random_seed
from mmpretrain.datasets.categories import IMAGENET_CATEGORIES
from torch import distributed
from torch.multiprocessing import start_processes
from torch.utils.data import DataLoader

from mmdwnet.datasets.imagenet_zip import ImageNetZip
from mmdwnet.errors import UserError

BASES = Path(__file__).parents[2] / 'configs' / '_base_' / 'datasets'


def loader(base: str, kind: str, root: Path, workers: int, **changes: object) -> DataLoader:
    """The loader of a base config, with small batches of the data in `root`."""
    config = Config.fromfile(BASES / f'{base}.py')
    config.merge_from_dict(
        {
            f'{kind}_dataloader.{key}': value
            for key, value in {
                'dataset.data_root': str(root),
                'batch_size': 4,
                'num_workers': workers,
                'persistent_workers': workers > 0,
                **changes,
            }.items()
        }
    )
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return Runner.build_dataloader(config[f'{kind}_dataloader'], seed=0)


def contents(batches: DataLoader) -> list[tuple]:
    """What is in each batch, but for where it was read."""
    set_random_seed(0)  # without workers, augmentation draws from this process's generators
    return [
        (
            batch['inputs'].tolist(),
            [(s.sample_idx, s.gt_label.tolist()) for s in batch['data_samples']],
        )
        for batch in batches
    ]


def indices(batches: DataLoader) -> list[int]:
    return [sample.sample_idx for batch in batches for sample in batch['data_samples']]


def destroy(archive: Path) -> None:
    """Overwrites an archive in place, so that nothing more can be read from it."""
    archive.write_bytes(b'?' * archive.stat().st_size)


def refusal(**options: object) -> str:
    with pytest.raises(UserError) as error:
        DATASETS.build(dict(type='ImageNetZip', **options))
    return str(error.value)


@pytest.mark.parametrize('workers', [0, 4])
@pytest.mark.parametrize('kind', ['train', 'val'])
def test_batches_are_those_of_the_folder_tree(imagenet: Path, kind: str, workers: int):
    # The recipe's pipelines, augmentation and all, in two epochs.
    folders = loader('imagenet', kind, imagenet, workers)
    archive = loader('imagenet_zip', kind, imagenet, workers)
    assert contents(archive) == contents(folders)
    for each in (folders, archive):
        each.sampler.set_epoch(1)
    assert contents(archive) == contents(folders)


@pytest.mark.slow
def test_spawned_workers_share_the_cache(imagenet: Path, archives: Path):
    spawned = loader(
        'imagenet_zip',
        'val',
        archives,
        2,
        multiprocessing_context='spawn',
        **{'dataset.cache': 'full'},
    )
    destroy(archives / 'val.zip')
    assert contents(spawned) == contents(loader('imagenet', 'val', imagenet, 0))
    assert spawned.dataset._archive._cache.is_shared()  # rather than once in each worker


def test_without_a_cache_images_come_from_the_archive(archives: Path):
    forked = loader('imagenet_zip', 'val', archives, 1)
    destroy(archives / 'val.zip')
    with pytest.raises(UserError, match=r'val\.zip is broken: n00000000/val_0.JPEG in it is'):
        contents(forked)


def test_one_damaged_image_is_named(archives: Path):
    content = bytearray((archives / 'train.zip').read_bytes())
    content[content.index(b'\xff\xd8\xff') + 100] ^= 1  # the first image of the archive
    (archives / 'train.zip').write_bytes(content)
    batches = loader('imagenet_zip', 'train', archives, 0)
    with pytest.raises(UserError, match=r'n00000000/train_0.JPEG in it is damaged; copy or down'):
        contents(batches)
    said = refusal(data_root=str(archives), split='train', cache='full')
    assert 'n00000000/train_0.JPEG in it is damaged' in said


def process(rank: int, archives: Path) -> None:
    """One of two processes; leaves the indices of two epochs and of the validation."""
    torch.set_num_threads(1)  # those of the process this was forked from are not here
    rendezvous = f'file://{archives}/rendezvous'
    distributed.init_process_group('gloo', init_method=rendezvous, rank=rank, world_size=2)
    sampler, cache = {'type': 'ShareSampler', 'shuffle': True}, {'dataset.cache': 'part'}
    train = loader('imagenet_zip', 'train', archives, 2, sampler=sampler, **cache)
    val = loader('imagenet_zip', 'val', archives, 0, sampler={**sampler, 'shuffle': False}, **cache)
    distributed.barrier()
    if rank == 0:
        for split in ('train', 'val'):
            destroy(archives / f'{split}.zip')
    distributed.barrier()
    seen = []
    for epoch in range(2):
        train.sampler.set_epoch(epoch)
        seen.append(indices(train))
    seen.append(indices(val))
    with pytest.raises(UserError, match='is damaged'):
        train.dataset[1 - rank]
    torch.save(seen, archives / f'{rank}.pth')
    distributed.destroy_process_group()


def test_each_of_two_processes_lives_on_its_part(archives: Path):
    start_processes(process, (archives,), nprocs=2, start_method='fork')
    both = [torch.load(archives / f'{rank}.pth') for rank in range(2)]
    for rank, (first, second, val) in enumerate(both):
        assert len(first) == len(second) == len(val) == 7
        assert set(first) == set(second) == set(val) == set(range(rank, 13, 2))
        assert first != second
        assert val == [*range(rank, 13, 2), 1][:7]


def test_what_is_in_memory_is_told(imagenet: Path, caplog: pytest.LogCaptureFixture):
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    dataset = ImageNetZip(data_root=str(imagenet), split='train', cache='part', indices=5)
    logger.removeHandler(caplog.handler)
    size = sum(len(fileio.get(dataset.get_data_info(i)['img_path'])) for i in range(5))
    told = f'5 of 5 images of {imagenet}/train.zip are in memory: {size / 1e9:.3g} GB'
    assert told in caplog.text
    assert 'part' in repr(dataset)


def test_options_mean_what_they_mean_in_mmpretrain(archives: Path):
    (archives / 'train.zip').rename(archives / 'other.zip')
    (archives / 'train_map.txt').rename(archives / 'list.txt')
    dataset = DATASETS.build(
        dict(
            type='ImageNetZip',
            data_root=str(archives / 'nowhere'),
            data_prefix=str(archives / 'other.zip'),
            ann_file=str(archives / 'list.txt'),
            indices=[3, 0],
            lazy_init=True,
            test_mode=True,
        )
    )
    assert isinstance(dataset, ImageNetZip)
    assert dataset.CLASSES == IMAGENET_CATEGORIES
    dataset.full_init()
    assert dataset.get_gt_labels().tolist() == [996, 999]
    first = dataset[0]
    assert type(first['gt_label']) is int
    assert first['img_path'] == f'zip://{archives}/other.zip!/n00000003/train_3.JPEG'
    assert dataset.get_subset([1])[0]['gt_label'] == 999


@pytest.mark.parametrize(
    ('line', 'problem'),
    [
        ('n00000000/train_0.JPEG 0\n', "'n00000000/train_0.JPEG 0\\\\n' is not path-inside-zip"),
        ('n00000000/train_0.JPEG\t\n', 'is not path-inside-zip<TAB>label'),
        ('n00000000/train_0.JPEG\tcat\n', 'is not path-inside-zip<TAB>label'),
        ('n00000000/train_0.JPEG\t0.5\n', 'is not path-inside-zip<TAB>label'),
        ('n00000000/train_0.JPEG\t-1\n', 'is not path-inside-zip<TAB>label'),
        ('n00000000/train_0.JPEG\t\u0663\n', 'is not path-inside-zip<TAB>label'),
        ('n00000000/train_0.JPEG\t1\t2\n', 'is not path-inside-zip<TAB>label'),
        (f'n00000000/train_0.JPEG\t{"9" * 5000}\n', 'is not path-inside-zip<TAB>label'),
        ('n00000000/train_0.JPEG\0\t1\n', 'is not path-inside-zip<TAB>label'),
        (f'{"a" * 10**6}\t1\n', "a' is not path-inside-zip<TAB>label"),
        ('\t1\n', 'is not path-inside-zip<TAB>label'),
        ('\n', 'is not path-inside-zip<TAB>label'),
        ('n00000000/train_0.JPEG\t1000\n', 'the label 1000 is not in 0 to 999'),
        ('n00000001/train_1.JPEG\t1\n', 'n00000001/train_1.JPEG is listed twice'),
        ('n00000000/train_99.JPEG\t1\n', r'train\.zip has no n00000000/train_99.JPEG \(1 of 13'),
        ('n00000000\t1\n', r'has no n00000000 \(1 of 13'),
        ('n00000000/\t1\n', r'has no n00000000/ \(1 of 13'),
        ('../train_map.txt\t1\n', r'has no \.\./train_map.txt'),
    ],
)
def test_malformed_lines_are_refused(archives: Path, line: str, problem: str):
    path = archives / 'train_map.txt'
    lines = path.read_text().splitlines(keepends=True)
    lines[4] = line
    path.write_text(''.join(lines))
    with pytest.raises(UserError, match=problem) as error:
        ImageNetZip(data_root=str(archives), split='train')
    assert str(error.value).startswith(f'{path}, line 5: ')
    assert str(error.value).count('\n') == 0


def test_other_line_ends_make_no_difference(archives: Path):
    path = archives / 'train_map.txt'
    path.write_bytes(path.read_bytes().replace(b'\n', b'\r\n').rstrip())
    assert len(ImageNetZip(data_root=str(archives), split='train')) == 13


def test_maps_that_are_none_are_refused(archives: Path):
    root, path = str(archives), archives / 'train_map.txt'
    path.write_bytes(b'\xff\xd8\xff\xe0')
    assert f'the map {path} is not UTF-8 text' in refusal(data_root=root, split='train')
    path.write_text('')
    assert f'the map {path} is empty' in refusal(data_root=root, split='train')
    path.unlink()
    assert f'the map {path} cannot be read: No such file' in refusal(data_root=root, split='train')


def test_bad_options_are_refused(archives: Path):
    assert "cache='half'" in refusal(data_root=str(archives), split='train', cache='half')
    assert "give split='train' or 'val'" in refusal(data_root=str(archives))
    said = refusal(data_root=str(archives), split='test')
    assert f'the archive {archives}/test.zip cannot be read: No such file' in said
