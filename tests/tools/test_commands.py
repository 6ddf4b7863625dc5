"""The commands as users start them: one process, several, and through slurm."""

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmdwnet.apis.building import build_model

from ..slurm import write_stand_ins

DEMO = Path(__file__).parents[1] / 'data' / 'digits'
CLASSIFIER = DEMO / 'dwnet_nano_digits.py'
DATA = {
    'dwnet_nano_digits': 'imagenet',
    'cascade_mask_rcnn_dwnet_nano_digits': 'coco',
    'upernet_dwnet_nano_digits': 'ade/ADEChallengeData2016',
}


def on_data(name: str, digits: Path) -> list[str]:
    """Changes that make a demo config use `digits` without workers."""
    root = digits / DATA[name]
    changes = []
    for kind in ('train', 'val', 'test'):
        loader = f'{kind}_dataloader'
        changes += [
            f'{loader}.dataset.data_root={root}',
            f'{loader}.num_workers=0',
            f'{loader}.persistent_workers=False',
        ]
    if DATA[name] == 'coco':
        annotations = root / 'annotations' / 'instances_val2017.json'
        changes += [f'{kind}_evaluator.ann_file={annotations}' for kind in ('val', 'test')]
    return ['--cfg-options', *changes]


def metrics(work_dir: Path) -> dict[str, float]:
    """Returns the scores of the test run in `work_dir`, without its timings."""
    (path,) = work_dir.glob('*/2*.json')
    scores = json.loads(path.read_text())
    return {key: value for key, value in scores.items() if not key.endswith('time')}


@pytest.fixture(scope='module')
def trained(script, digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Work dir of the demo's classifier, trained for an epoch by two processes."""
    folder = tmp_path_factory.mktemp('trained')
    changes = ('train_cfg.max_epochs=1', 'default_hooks.logger.interval=2')
    done = script(
        'dist_train.sh',
        *(CLASSIFIER, 2, '--work-dir', 'work', *on_data('dwnet_nano_digits', digits), *changes),
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return folder / 'work'


@pytest.fixture
def checkpoint(trained: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Makes a checkpoint: the classifier's, or an untrained detector or segmentor."""

    def make(name: str) -> Path:
        if name == CLASSIFIER.stem:
            return trained / 'epoch_1.pth'
        torch.manual_seed(0)
        cfg = Config.fromfile(DEMO / f'{name}.py')
        cfg.model.backbone.init_cfg = None
        model = build_model(cfg)
        model.init_weights()
        path = tmp_path / 'untrained.pth'
        torch.save(dict(state_dict=model.state_dict()), path)
        return path

    return make


def test_two_processes_train_as_one_model(trained: Path):
    log = ''.join(path.read_text() for path in trained.rglob('*.log'))
    # 144 digits in batches of 32 for each of two processes.
    assert '[1][2/3]' in log
    assert 'accuracy/top1' in log
    assert torch.load(trained / 'epoch_1.pth', weights_only=False)['meta']['iter'] == 3


def same(one: object, two: object) -> None:
    """Asserts that predictions agree, to the rounding of float32."""
    assert type(one) is type(two)
    if isinstance(one, dict):
        assert one.keys() == two.keys()
        for key in one:
            same(one[key], two[key])
    elif isinstance(one, torch.Tensor):
        torch.testing.assert_close(one, two)
    elif isinstance(one, list | tuple):
        assert len(one) == len(two)
        for pair in zip(one, two, strict=True):
            same(*pair)
    else:
        assert one == two


@pytest.mark.slow
@pytest.mark.parametrize('name', DATA)
def test_two_processes_test_as_one(script, digits: Path, checkpoint, tmp_path: Path, name):
    config, weights = DEMO / f'{name}.py', checkpoint(name)
    # One image at a time, as batches of other sizes round differently; an odd number of images.
    changes = (*on_data(name, digits), 'test_dataloader.batch_size=1')
    if name == CLASSIFIER.stem:
        changes = (*changes, 'test_dataloader.dataset.indices=35')
    predictions = {}
    for processes in (1, 2):
        command = ('test.py', config, weights)
        if processes > 1:
            command = ('dist_test.sh', config, weights, processes)
        output = ('--work-dir', f'work{processes}', '--out', f'{processes}.pkl')
        done = script(*command, *output, *changes, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        predictions[processes] = pickle.loads((tmp_path / f'{processes}.pkl').read_bytes())

    assert metrics(tmp_path / 'work1') == metrics(tmp_path / 'work2')
    assert len(predictions[1]) == (35 if name == CLASSIFIER.stem else 5)
    same(predictions[1], predictions[2])


def test_bad_input_is_told_once(script, digits: Path, tmp_path: Path):
    args = (CLASSIFIER, 2, '--cfg-options', 'train_dataloader.dataset.data_root=nowhere')
    done = script('dist_train.sh', *args, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count('nowhere does not exist') == 1
    assert 'Traceback' not in done.stderr
    assert list(tmp_path.iterdir()) == []


# Notes what torchrun would get, and does without it; all else is Python's.
PYTHON = """#!/usr/bin/env bash
case "$*" in
    *torch.distributed.run*) echo "$OMP_NUM_THREADS $MMDWNET_CHECKED" > got ;;
    *--check*) ;;
    *) exec {python} "$@" ;;
esac
"""


@pytest.mark.parametrize(('name', 'given'), [('dist_train.sh', ''), ('dist_test.sh', '3')])
def test_processes_without_gpus_share_the_cores(script, tmp_path: Path, name, given):
    python = tmp_path / 'python'
    python.write_text(PYTHON.format(python=sys.executable))
    python.chmod(0o755)
    args = (CLASSIFIER, 'x.pth', 2) if name == 'dist_test.sh' else (CLASSIFIER, 2)
    done = script(name, *args, cwd=tmp_path, PYTHON=str(python), OMP_NUM_THREADS=given)
    assert done.returncode == 0, done.stderr
    cores = subprocess.run(
        [sys.executable, '-c', 'import torch; print(torch.get_num_threads())'],
        env={key: value for key, value in os.environ.items() if key != 'OMP_NUM_THREADS'},
        capture_output=True,
        check=True,
    )
    threads, checked = (tmp_path / 'got').read_text().split()
    assert threads == (given or str(max(1, int(cores.stdout) // 2)))
    assert checked == '1'


def test_number_of_processes_is_checked(script, tmp_path: Path):
    done = script('dist_test.sh', CLASSIFIER, 'x.pth', 0, cwd=tmp_path)
    assert done.returncode == 2
    assert "the number of processes is '0'" in done.stderr
    assert 'usage' in script('dist_test.sh', CLASSIFIER, 'x.pth', cwd=tmp_path).stderr


@pytest.fixture
def slurm(script, tmp_path: Path, monkeypatch) -> Callable[..., list[str]]:
    """Runs a slurm script with a stand-in for srun; returns the options that srun got."""
    write_stand_ins(tmp_path / 'bin')
    monkeypatch.setenv('PATH', str(tmp_path / 'bin'), prepend=':')

    def run(name: str, *args: object, code: int = 0, **variables: str) -> list[str]:
        done = script(name, *args, cwd=tmp_path, **variables)
        assert done.returncode == code, done.stderr
        if code:
            return done.stderr.splitlines()
        return (tmp_path / 'srun_args').read_text().splitlines()

    return run


@pytest.mark.slow
def test_slurm_tests(slurm, digits: Path, checkpoint, tmp_path: Path):
    name = CLASSIFIER.stem
    args = (CLASSIFIER, checkpoint(name), '--work-dir', 'work', *on_data(name, digits))
    asked = slurm('slurm_test.sh', 'part', 'job', *args, GPUS='1', SRUN_ARGS='--qos=low --time=9')
    assert asked[:2] == ['-p', 'part']
    wanted = {'--job-name=job', '--gres=gpu:1', '--ntasks=1', '--qos=low', '--time=9'}
    assert wanted <= set(asked)
    assert 'accuracy/top1' in metrics(tmp_path / 'work')


def test_slurm_trains(slurm, digits: Path, tmp_path: Path):
    changes = on_data(CLASSIFIER.stem, digits)
    sizes = dict(GPUS='16', GPUS_PER_NODE='4', CPUS_PER_TASK='2', PY_ARGS='--check')
    asked = slurm('slurm_train.sh', 'part', 'job', CLASSIFIER, 'there', *changes, **sizes)
    assert {'--gres=gpu:4', '--ntasks=16', '--ntasks-per-node=4', '--cpus-per-task=2'} <= set(asked)
    assert asked[asked.index('--work-dir') + 1] == 'there'
    assert '--check' in asked and not (tmp_path / 'there').exists()


@pytest.mark.slow
def test_slurm_trains_into_the_configs_work_dir(slurm, digits: Path):
    changes = on_data(CLASSIFIER.stem, digits)
    asked = slurm('slurm_train.sh', 'part', 'job', CLASSIFIER, *changes, PY_ARGS='--check')
    assert '--work-dir' not in asked
    assert asked[-len(changes) - 3 : -3] == changes


@pytest.mark.slow
@pytest.mark.parametrize(
    ('change', 'said'),
    [
        ('train_dataloader.dataset.data_root=nowhere', 'nowhere does not exist'),  # found by one
        # Found by each.
        ('model.backbone.arch=giant', "'giant'"),
    ],
)
def test_slurm_tasks_tell_bad_input_once(slurm, digits: Path, tmp_path: Path, change, said):
    args = ('part', 'job', CLASSIFIER, *on_data(CLASSIFIER.stem, digits), change)
    lines = slurm('slurm_train.sh', *args, code=2, TASKS='2')
    assert sum(said in line for line in lines) == 1
    assert not any('Traceback' in line for line in lines)
    assert (tmp_path / 'code1').read_text() == '2\n'
    assert not (tmp_path / 'work_dirs').exists()
