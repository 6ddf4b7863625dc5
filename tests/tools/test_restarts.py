"""Runs that lose a process, or are told to stop, come back by themselves or at the next start."""

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from .test_commands import CLASSIFIER, on_data

HERE = Path(__file__).parent


@pytest.fixture(scope='module')
def train(script, digits: Path) -> Callable[..., str]:
    """Trains for two epochs on 48 images, by default in two processes; returns stderr."""

    def run(
        work_dir: Path,
        *changes: str,
        text: str = '',
        args: tuple[str, ...] = (),
        code: int = 0,
        processes: int = 2,
        **variables: str,
    ) -> str:
        config = work_dir.with_suffix('.py')
        config.write_text(
            f'_base_ = {str(CLASSIFIER)!r}\n'
            f"custom_imports = dict(imports=['mmdwnet', 'disturbances'])\n{text}"
        )
        done = script(
            *('dist_train.sh', config, processes),
            *args,
            *('--work-dir', work_dir),
            *on_data(CLASSIFIER.stem, digits),
            'train_cfg.max_epochs=2',
            'train_dataloader.dataset.indices=48',
            'train_dataloader.batch_size=2',
            'val_dataloader.dataset.indices=20',
            'default_hooks.checkpoint.interval=5',
            'default_hooks.checkpoint.by_epoch=False',
            *changes,
            cwd=work_dir.parent,
            PYTHONPATH=f'{HERE}:{HERE.parents[1]}',
            **variables,
        )
        assert done.returncode == code, done.stderr
        return done.stderr

    return run


@pytest.fixture(scope='module')
def whole(train, tmp_path_factory: pytest.TempPathFactory) -> list:
    """Weights and optimizer state of an undisturbed run."""
    work_dir = tmp_path_factory.mktemp('whole') / 'whole'
    train(work_dir)
    return result(work_dir)


def result(work_dir: Path) -> list:
    last = (work_dir / 'last_checkpoint').read_text()
    assert last == 'iter_24.pth'
    checkpoint = torch.load(work_dir / last, weights_only=False)
    return [checkpoint['state_dict'], checkpoint['optimizer']['state']]


def assert_same(first: object, second: object) -> None:
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def hook(kind: str, tmp_path: Path, rank: int = 1) -> str:
    mark = str(tmp_path / 'mark')
    hook = dict(type='Disturbed', kind=kind, iteration=8, mark=mark, rank=rank)
    return f'custom_hooks = [{hook}]\n'


@pytest.mark.slow
def test_a_group_that_loses_a_process_is_restarted(train, whole, tmp_path: Path):
    train(tmp_path / 'cut', text=hook('dies', tmp_path))
    assert (tmp_path / 'mark').exists()
    assert_same(result(tmp_path / 'cut'), whole)


@pytest.mark.slow
def test_a_group_in_which_one_hangs_is_restarted(train, whole, tmp_path: Path):
    train(tmp_path / 'cut', 'env_cfg.dist_cfg.timeout=8', text=hook('hangs', tmp_path))
    assert (tmp_path / 'mark').exists()
    assert_same(result(tmp_path / 'cut'), whole)


@pytest.mark.slow
def test_no_more_restarts_than_asked(train, tmp_path: Path):
    train(tmp_path / 'cut', text=hook('dies', tmp_path), code=1, MAX_RESTARTS='0')
    assert (tmp_path / 'cut/last_checkpoint').read_text() == 'iter_5.pth'


@pytest.fixture
def damaged(digits: Path, tmp_path: Path) -> str:
    """A change to data of which one image is empty."""
    shutil.copytree(digits / 'imagenet/train', tmp_path / 'train')
    min((tmp_path / 'train').rglob('*.jpg')).write_bytes(b'')
    return f'train_dataloader.dataset.data_root={tmp_path}'


@pytest.mark.slow
def test_bad_data_end_the_run_without_restarts(train, damaged: str, tmp_path: Path):
    error = train(tmp_path / 'cut', damaged, code=2)
    assert error.count('is empty: correct or remove it') == 1
    assert len(list((tmp_path / 'cut').glob('2*'))) == 1  # no second start


@pytest.mark.slow
def test_bad_data_of_all_processes_are_counted(train, damaged: str, tmp_path: Path):
    train(tmp_path / 'whole', damaged, 'bad_data=skip')
    (log,) = (tmp_path / 'whole').glob('*/*.log')
    assert log.read_text().count('1 of 48 samples were bad and replaced by others') == 2


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['SIGTERM', 'SIGUSR1'])
def test_all_processes_stop_when_one_is_told_to(train, whole, tmp_path: Path, kind):
    train(tmp_path / 'cut', text=hook(kind, tmp_path), code=75)
    assert not (tmp_path / 'cut/iter_24.pth').exists()
    train(tmp_path / 'cut', args=('--resume',))
    assert_same(result(tmp_path / 'cut'), whole)


@pytest.mark.slow
@pytest.mark.parametrize(('before', 'after'), [(2, 1), (1, 2)])
def test_other_processes_go_on_with_what_is_left(train, tmp_path: Path, before: int, after: int):
    hooks = (
        hook('SIGUSR1', tmp_path, rank=before - 1)[:-2]
        + f", dict(type='Recorded', folder={str(tmp_path)!r})]\n"
    )
    train(tmp_path / 'cut', text=hooks, code=75, processes=before)
    train(tmp_path / 'cut', text=hooks, args=('--resume',), processes=after)
    images = Counter((tmp_path / 'images.txt').read_text().splitlines())
    assert len(images) == 48 and set(images.values()) == {2}  # epochs
    assert (tmp_path / 'cut/last_checkpoint').read_text() == f'iter_{48 // after}.pth'
    log = max((tmp_path / 'cut').glob('*/*.log')).read_text()
    assert f'from {before} process(es) with batches of 2, this run has {after} with' in log


def test_a_batch_job_of_slurm_is_queued_again(script, tmp_path: Path, monkeypatch):
    (tmp_path / 'bin').mkdir()
    for name, code in (('srun', 75), ('scontrol', 0)):
        file = tmp_path / 'bin' / name
        file.write_text(f'#!/usr/bin/env bash\necho "$@" > {name}_args\nexit {code}\n')
        file.chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path / 'bin'), prepend=':')
    args = ('slurm_train.sh', 'part', 'job', CLASSIFIER)
    assert script(*args, cwd=tmp_path).returncode == 75
    assert not (tmp_path / 'scontrol_args').exists()
    again = script(*args, cwd=tmp_path, SLURM_JOB_ID='7', SLURM_RESTART_COUNT='1')
    assert again.returncode == 75
    assert (tmp_path / 'scontrol_args').read_text() == 'requeue 7\n'
    assert '--resume' in (tmp_path / 'srun_args').read_text().split()
