"""Loaders that replace bad samples, and upstream's hooks."""

import multiprocessing
import shutil
from collections.abc import Callable
from pathlib import Path

import torch


def weights(path: Path) -> dict:
    return torch.load(path, weights_only=False)['state_dict']


def spoiled(data_root: Path, tmp_path: Path) -> tuple[str, ...]:
    """Spoil some images; return the changes of a config that skip them."""
    root = tmp_path / 'spoiled'
    shutil.copytree(data_root, root)
    for number in (3, 8, 14):
        (root / 'train' / str(number % 10) / f'{number}.png').write_bytes(b'')
    return (
        'bad_data=skip',
        *(f'{split}_dataloader.dataset.data_root={root}' for split in ('train', 'val')),
    )


def test_a_resumed_run_replaces_the_same_samples(run: Callable, data_root: Path, tmp_path: Path):
    changes = spoiled(data_root, tmp_path)
    assert run('whole', changes=changes) == 0
    told = dict(type='SignalAt', iteration=15)
    assert run('cut', workers=2, changes=changes, hooks=[told]) == 75
    assert multiprocessing.active_children() == []  # they would go on for a while
    assert run('cut', '--resume', workers=1, changes=changes) == 0
    expected = weights(tmp_path / 'whole/epoch_3.pth')
    found = weights(tmp_path / 'cut/epoch_3.pth')
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_a_hook_can_change_the_pipeline_of_workers_that_persist(
    run: Callable, data_root: Path, tmp_path: Path
):
    changes = spoiled(data_root, tmp_path)
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='NoteRead', path=str(tmp_path / 'switched.read')),
        dict(type='RandomCrop', crop_size=28, padding=2),
        dict(type='PackInputs'),
    ]
    schedule = [dict(action_epoch=2, train_pipeline=pipeline)]
    hook = dict(type='SwitchRecipeHook', schedule=schedule)
    assert run('run', workers=2, changes=changes, hooks=[hook]) == 0
    # The first of three epochs is read by the first pipeline, the others by the second.
    assert len((tmp_path / 'run.read').read_text().split()) == 22
    assert len((tmp_path / 'switched.read').read_text().split()) == 44
    (log,) = (tmp_path / 'run').glob('*/*.log')
    assert log.read_text().count('3 of 22 samples were bad and replaced by others') == 3
