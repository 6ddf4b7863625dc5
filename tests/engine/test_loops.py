"""A training that was stopped anywhere goes on as if it had not been."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmpretrain.models import ImageClassifier

from .conftest import IMAGES


def state(path: Path) -> list[dict]:
    checkpoint = torch.load(path, weights_only=False)
    return [checkpoint['state_dict'], checkpoint['optimizer']['state']]


def assert_same(first: object, second: object) -> None:
    """Compare bit for bit."""
    torch.testing.assert_close(first, second, rtol=0, atol=0)


@pytest.fixture(scope='module')
def whole(train_in: Callable[..., int], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('undisturbed')
    assert train_in(folder, 'whole') == 0
    return folder


@pytest.fixture(scope='module')
def undisturbed(whole: Path) -> list[dict]:
    return state(whole / 'whole/epoch_3.pth')


@pytest.mark.parametrize(
    ('iteration', 'workers'),
    [
        (15, (2, 0)),
        (31, (1, 2)),
        *(pytest.param(*p, marks=pytest.mark.slow) for p in ((4, (0, 0)), (21, (0, 2)))),
    ],
)
def test_stopped_and_resumed_runs_end_alike(run, tmp_path, whole, undisturbed, iteration, workers):
    told = dict(type='SignalAt', iteration=iteration)
    assert run('cut', workers=workers[0], hooks=[told]) == 75
    (tmp_path / 'cut.read').unlink()
    assert run('cut', '--resume', workers=workers[1]) == 0
    assert_same(state(tmp_path / 'cut/epoch_3.pth'), undisturbed)
    # What was trained on before is not read again.
    read = (tmp_path / 'cut.read').read_text().split()
    done = (iteration + 1) * 2
    everything = (whole / 'whole.read').read_text().split()
    assert sorted(read) == sorted(everything[done:])


@pytest.mark.parametrize('auto', [False, True])
def test_another_batch_size_takes_what_the_epoch_has_left(run, tmp_path, auto):
    scale = ('auto_scale_lr.base_batch_size=2',)
    assert run('cut', hooks=[dict(type='SignalAt', iteration=4)], changes=scale) == 75
    done = (tmp_path / 'cut.read').read_text().split()[: 5 * 2]
    (tmp_path / 'cut.read').unlink()
    changes = ('train_dataloader.batch_size=4', 'train_cfg.max_epochs=1', *scale)
    args = ['--auto-scale-lr'] if auto else []
    assert run('cut', '--resume', *args, changes=changes) == 0
    read = (tmp_path / 'cut.read').read_text().split()
    assert sorted(done + read, key=int) == [str(index) for index in range(IMAGES)]
    checkpoint = torch.load(tmp_path / 'cut/epoch_1.pth', weights_only=False)
    assert checkpoint['meta']['iter'] == 6  # of 22 images in batches of 4
    logs = '\n'.join(path.read_text() for path in sorted((tmp_path / 'cut').rglob('*.log')))
    assert 'a step takes 4 images instead of 2' in logs
    assert ('2 times what it was' in logs) == auto
    assert ('--auto-scale-lr would fit it' in logs) != auto


@pytest.mark.parametrize(
    ('kind', 'said'),
    [
        ('dies', 'killed by signal'),
        pytest.param('hangs', 'timed out after 2 seconds', marks=pytest.mark.slow),
    ],
)
def test_a_lost_worker_ends_the_run_which_can_be_resumed(run, tmp_path, undisturbed, kind, said):
    lose = dict(type='LoseWorker', kind=kind, index=20, mark=str(tmp_path / 'mark'))
    changes = (
        'train_dataloader.timeout=2',
        'default_hooks.checkpoint.by_epoch=False',
        'default_hooks.checkpoint.interval=2',
    )
    with pytest.raises(RuntimeError, match=said):
        run('cut', workers=1, transforms=[lose], changes=changes)
    assert run('cut', '--resume', workers=1, transforms=[lose], changes=changes) == 0
    assert_same(state(tmp_path / 'cut/iter_33.pth'), undisturbed)


def test_workers_outlive_a_signal_to_all_processes(run, tmp_path, undisturbed):
    told = dict(type='SignalAt', iteration=14, workers=True)
    changes = ('val_dataloader.num_workers=1', 'val_dataloader.persistent_workers=True')
    assert run('cut', workers=1, hooks=[told], changes=changes) == 75
    assert run('cut', '--resume') == 0
    assert_same(state(tmp_path / 'cut/epoch_3.pth'), undisturbed)


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGUSR1])
def test_told_to_stop_before_training_begins(run, tmp_path, monkeypatch, number):
    build = ImageClassifier.__init__

    def told(*args, **kwargs):
        os.kill(os.getpid(), number)
        build(*args, **kwargs)

    monkeypatch.setattr(ImageClassifier, '__init__', told)
    before = signal.getsignal(number)
    assert run('cut') == 75
    assert signal.getsignal(number) == before
    assert not list((tmp_path).glob('cut/*.pth'))


def test_all_of_the_state_is_resumed(run, tmp_path):
    ema = dict(type='EMAHook', momentum=0.2)
    changes = ('optim_wrapper.accumulative_counts=3',)
    assert run('whole', '--amp', 'bfloat16', changes=changes, hooks=[ema]) == 0
    told = dict(type='SignalAt', iteration=6)  # one of three batches has been added
    assert run('cut', '--amp', 'bfloat16', changes=changes, hooks=[ema, told]) == 75
    assert run('cut', '--amp', 'bfloat16', '--resume', changes=changes, hooks=[ema]) == 0
    first, second = (
        torch.load(tmp_path / name / 'epoch_3.pth', weights_only=False) for name in ('cut', 'whole')
    )
    for key in ('state_dict', 'ema_state_dict', 'optimizer'):
        assert_same(first[key], second[key])
    assert str(first['param_schedulers']) == str(second['param_schedulers'])
    assert first['meta']['iter'] == second['meta']['iter']


def test_bad_data_cost_no_work(run, data_root, tmp_path, whole, undisturbed, capsys):
    ninth = int((whole / 'whole.read').read_text().split()[8])
    image = sorted((data_root / 'train').rglob('*.png'))[ninth]
    content = image.read_bytes()
    image.write_bytes(b'')
    try:
        assert run('cut') == 2
    finally:
        image.write_bytes(content)
    assert f'{image} is empty' in capsys.readouterr().err
    assert (tmp_path / 'cut/iter_4.pth').exists()  # four batches of two were sound
    assert run('cut', '--resume') == 0
    assert_same(state(tmp_path / 'cut/epoch_3.pth'), undisturbed)
