"""Runs that lose a process, or are told to stop, come back by themselves or at the next start."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from .test_commands import CLASSIFIER, on_data

HERE = Path(__file__).parent


@pytest.fixture
def train(script, digits: Path, tmp_path: Path) -> Callable[..., str]:
    """Trains for two epochs of 12 iterations; returns stderr."""

    def run(
        work_dir: str,
        *changes: str,
        text: str = '',
        processes: int = 2,
        args: tuple[str, ...] = (),
        code: int = 0,
        **variables: str,
    ) -> str:
        config = tmp_path / 'disturbed.py'
        config.write_text(
            f'_base_ = {str(CLASSIFIER)!r}\n'
            f"custom_imports = dict(imports=['mmdwnet', 'disturbances'])\n{text}"
        )
        command = ('dist_train.sh', config, processes) if processes else ('train.py', config)
        done = script(
            *command,
            *args,
            *('--work-dir', work_dir),
            *on_data(CLASSIFIER.stem, digits),
            'train_cfg.max_epochs=2',
            f'train_dataloader.dataset.indices={24 * max(1, processes)}',
            'train_dataloader.batch_size=2',
            'val_dataloader.dataset.indices=20',
            'default_hooks.checkpoint.interval=5',
            'default_hooks.checkpoint.by_epoch=False',
            *changes,
            cwd=tmp_path,
            PYTHONPATH=f'{HERE}:{HERE.parents[1]}',
            **variables,
        )
        assert done.returncode == code, done.stderr
        return done.stderr

    return run


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


def test_a_group_that_loses_a_process_is_restarted(train, tmp_path: Path):
    train('whole')
    train('cut', text=hook('dies', tmp_path))
    assert (tmp_path / 'mark').exists()
    assert_same(result(tmp_path / 'cut'), result(tmp_path / 'whole'))


def test_a_group_in_which_one_hangs_is_restarted(train, tmp_path: Path):
    train('cut', 'env_cfg.dist_cfg.timeout=8', text=hook('hangs', tmp_path))
    assert (tmp_path / 'mark').exists()
    result(tmp_path / 'cut')


def test_no_more_restarts_than_asked(train, tmp_path: Path):
    assert 'disturb' not in train('cut', text=hook('dies', tmp_path), code=1, MAX_RESTARTS='0')


@pytest.mark.parametrize('kind', ['SIGTERM', 'SIGUSR1'])
def test_all_processes_stop_when_one_is_told_to(train, tmp_path: Path, kind):
    train('cut', text=hook(kind, tmp_path), code=75)
    assert not (tmp_path / 'cut/iter_24.pth').exists()
    train('cut', args=('--resume',))
    train('whole')
    assert_same(result(tmp_path / 'cut'), result(tmp_path / 'whole'))


@pytest.mark.parametrize(
    ('kind', 'said'), [('dies', 'is killed by signal'), ('hangs', 'timed out')]
)
def test_a_lost_worker_ends_the_run_which_can_be_resumed(train, tmp_path: Path, kind, said):
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='DisturbedWorker', kind=kind, index=20, mark=str(tmp_path / 'mark')),
        dict(type='PackInputs'),
    ]
    text = f'train_dataloader = dict(dataset=dict(pipeline={pipeline}))\n'
    workers = ('train_dataloader.num_workers=1', 'train_dataloader.timeout=4')
    assert said in train('cut', *workers, text=text, processes=0, code=1)
    train('cut', *workers, text=text, processes=0, args=('--resume',))
    result(tmp_path / 'cut')


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
