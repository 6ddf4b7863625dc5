"""The newest checkpoint that is whole, whatever a kill or a copy made of the others."""

import os
from pathlib import Path

import pytest
import torch

from mmdwnet.checkpoints.latest import find_latest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Checkpoints of three epochs, and best weights."""
    for epoch in (1, 2, 3):
        write(tmp_path / f'epoch_{epoch}.pth', epoch)
    write(tmp_path / 'best_accuracy_epoch_3.pth', 3, optimizer=False)
    (tmp_path / 'last_checkpoint').write_text('epoch_3.pth')
    return tmp_path


def write(path: Path, epoch: int, optimizer: bool = True) -> None:
    checkpoint = dict(meta=dict(epoch=epoch, iter=10 * epoch), state_dict=dict(w=torch.zeros(99)))
    torch.save(checkpoint | (dict(optimizer=dict()) if optimizer else dict()), path)
    os.utime(path, (epoch, epoch))


def test_the_recorded_one(folder):
    assert find_latest(str(folder)) == (f'{folder}/epoch_3.pth', [])


@pytest.mark.parametrize('record', ['/elsewhere/epoch_3.pth', 'work_dirs/x/epoch_3.pth', None])
def test_other_records(folder, record):
    (folder / 'last_checkpoint').unlink()
    if record:
        (folder / 'last_checkpoint').write_text(record)
    assert find_latest(str(folder))[0] == f'{folder}/epoch_3.pth'


def test_a_record_that_is_not_text(folder):
    (folder / 'last_checkpoint').write_bytes(b'\xff\xfe\x00')
    assert find_latest(str(folder))[0] == f'{folder}/epoch_3.pth'


@pytest.mark.parametrize('size', [0, 100, -100])
def test_damaged_ones_are_passed_over(folder, size):
    for epoch in (2, 3):
        path = folder / f'epoch_{epoch}.pth'
        path.write_bytes(path.read_bytes()[:size])
    found, passed = find_latest(str(folder))
    assert found == f'{folder}/epoch_1.pth'
    assert [any(f'epoch_{epoch}.pth' in said for said in passed) for epoch in (2, 3)] == [True] * 2


def test_one_that_a_kill_kept_from_the_record(folder):
    write(folder / 'epoch_4.pth', 4)
    os.utime(folder / 'epoch_4.pth')
    os.utime(folder / 'last_checkpoint', (3, 3))
    assert find_latest(str(folder))[0] == f'{folder}/epoch_4.pth'


def test_a_copy_with_times_of_its_own(folder):
    for name in ('last_checkpoint', 'epoch_3.pth', 'epoch_2.pth', 'epoch_1.pth'):
        os.utime(folder / name)
    assert find_latest(str(folder))[0] == f'{folder}/epoch_3.pth'


def test_only_those_of_this_run(folder):
    assert find_latest(str(folder), since=3)[0] == f'{folder}/epoch_3.pth'
    assert find_latest(str(folder), since=4) == (None, [])


def test_none(tmp_path):
    assert find_latest(str(tmp_path)) == (None, [])
    assert find_latest(str(tmp_path / 'missing')) == (None, [])
