"""Checkpoints are whole, and what goes wrong with one costs no other."""

import resource
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from mmdwnet.engine.files import AtomicBackend

ROOM = 50_000  # bytes, enough for logs


@HOOKS.register_module(force=True)
class FullDisk(Hook):
    """Leaves no room for checkpoints in some epochs."""

    def __init__(self, epochs: list[int]) -> None:
        self.epochs = epochs
        self.unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)

    def before_train_epoch(self, runner: object) -> None:
        full = runner.epoch + 1 in self.epochs
        limit = (ROOM, self.unlimited[1]) if full else self.unlimited
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)

    def after_run(self, runner: object) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self.unlimited)


@pytest.fixture
def limit() -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file()}


def full(*epochs: int) -> list[dict]:
    return [dict(type='FullDisk', epochs=list(epochs))]


@pytest.mark.usefixtures('limit')
def test_training_goes_on_without_room_for_a_checkpoint(run, tmp_path: Path):
    assert run('work', hooks=full(2)) == 0
    work = tmp_path / 'work'
    assert names(work) == {'epoch_3.pth', 'last_checkpoint', 'disturbed.py'}
    assert (work / 'last_checkpoint').read_text() == 'epoch_3.pth'
    (log,) = work.rglob('*.log')
    assert 'epoch_2.pth cannot be written' in log.read_text()
    assert f'{work}/epoch_1.pth as the last one' in log.read_text()


@pytest.mark.usefixtures('limit')
def test_training_ends_when_there_is_never_room(run, tmp_path: Path, capsys):
    changes = ('default_hooks.checkpoint.max_failures=1',)
    assert run('work', changes=changes, hooks=full(2, 3)) == 2
    work = tmp_path / 'work'
    assert names(work) == {'epoch_1.pth', 'last_checkpoint', 'disturbed.py'}
    assert (work / 'last_checkpoint').read_text() == 'epoch_1.pth'
    assert f'make room, then resume from {work}/epoch_1.pth' in capsys.readouterr().err


def test_what_cannot_be_renamed_is_no_checkpoint(run, tmp_path: Path):
    work = tmp_path / 'work'
    (work / 'epoch_2.pth' / 'in the way').mkdir(parents=True)
    assert run('work') == 0
    assert (work / 'last_checkpoint').read_text() == 'epoch_3.pth'
    (log,) = work.rglob('*.log')
    assert 'epoch_2.pth cannot be written' in log.read_text()


@pytest.mark.usefixtures('limit')
def test_the_best_checkpoint_outlives_one_that_cannot_be_written(run, tmp_path: Path):
    best = 'default_hooks.checkpoint.save_best=accuracy/top1'
    greater = 'default_hooks.checkpoint.rule=less'  # so that the untrained model is not the best
    assert run('work', changes=(best, greater, 'train_cfg.max_epochs=1')) == 0
    (first,) = (tmp_path / 'work').glob('best_*.pth')
    content = first.read_bytes()
    # From here on every epoch is the best.
    checkpoint = torch.load(tmp_path / 'work/epoch_1.pth', weights_only=False)
    checkpoint['message_hub']['runtime_info']['best_score'] = 1e9
    torch.save(checkpoint, tmp_path / 'work/epoch_1.pth')
    changes = (best, greater, 'train_cfg.max_epochs=2')
    assert run('work', '--resume', changes=changes, hooks=full(2)) == 0
    (left,) = (tmp_path / 'work').glob('best_*.pth')
    assert (left, left.read_bytes()) == (first, content)
    run('work', '--resume', changes=(best, greater))
    assert first not in set((tmp_path / 'work').glob('best_*.pth'))


def test_what_a_checkpoint_names_elsewhere_is_not_removed(run, tmp_path: Path):
    best = ('default_hooks.checkpoint.save_best=accuracy/top1',)
    assert run('work', changes=(*best, 'train_cfg.max_epochs=1')) == 0
    checkpoint = torch.load(tmp_path / 'work/epoch_1.pth', weights_only=False)
    (tmp_path / 'mine').write_text('precious')
    checkpoint['message_hub']['runtime_info'] |= dict(
        stopgap=f'{tmp_path}/mine', best_ckpt=f'{tmp_path}/mine', best_score=-1.0
    )
    torch.save(checkpoint, tmp_path / 'work/epoch_1.pth')
    assert run('work', '--resume', changes=(*best, 'train_cfg.max_epochs=2')) == 0
    assert 'epoch_2.pth' in names(tmp_path / 'work')
    assert (tmp_path / 'mine').read_text() == 'precious'


def test_a_moved_work_dir_resumes_from_itself(run, tmp_path: Path):
    assert run('before', changes=('train_cfg.max_epochs=2',)) == 0
    shutil.move(tmp_path / 'before', tmp_path / 'after')
    assert run('after', '--resume') == 0
    assert 'epoch_3.pth' in names(tmp_path / 'after')
    assert not (tmp_path / 'before').exists()
    assert 'resumed epoch: 2, iter: 22' in '\n'.join(
        log.read_text() for log in (tmp_path / 'after').rglob('*.log')
    )


@pytest.mark.usefixtures('limit')
def test_a_file_keeps_its_content_until_the_next_is_whole(tmp_path: Path):
    path = tmp_path / 'file'
    AtomicBackend().put(b'before', path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    with pytest.raises(OSError):
        AtomicBackend().put(b'longer than that', path)
    assert path.read_bytes() == b'before'
    assert names(tmp_path) == {'file'}
