"""From a folder of pictures to a tested model, in one process, in several, and after kills."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmdwnet.checkpoints.latest import find_best
from mmdwnet.cli import finetune, test

from ..finetuning.made import FOLDERS, class_folders

ROOT = Path(__file__).parents[2]
OPTIONS = ('--epochs', '1', '--size', '32')


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return class_folders(tmp_path_factory.mktemp('data') / 'shapes', 12)


@pytest.fixture(scope='module')
def done(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a short training."""
    out = tmp_path_factory.mktemp('done') / 'out'
    assert finetune.main(['classify', str(data), '--out', str(out), *OPTIONS]) == 0
    return out


@pytest.fixture
def out(done: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(done, tmp_path / 'out')


def again(data: Path, out: Path, *options: str) -> int:
    return finetune.main(['classify', str(data), '--out', str(out), *(options or OPTIONS)])


def test_everything_is_there(done):
    (checkpoint,) = (done / 'run').glob('best_accuracy_top1_epoch_1.pth')
    metrics = json.loads((done / 'results.json').read_text())
    assert 0 <= metrics['accuracy/top1'] <= 100
    assert (done / 'report.html').stat().st_size > 1000
    assert 'Epoch(train)' in (done / 'log.txt').read_text()
    assert torch.load(checkpoint, weights_only=False)['meta']['dataset_meta']['classes'] == [
        'green',
        'red',
    ]


def test_the_test_command_gives_the_same_scores(done, capsys):
    args = test.parse_args([str(done / 'config.py'), find_best(done / 'run')[0]])
    metrics = test.test(args)
    assert metrics == json.loads((done / 'results.json').read_text())


def test_a_finished_run_is_not_repeated(data, done, capfd):
    log, report = (done / 'log.txt').read_bytes(), (done / 'report.html').read_bytes()
    assert again(data, done) == 0
    assert (done / 'log.txt').read_bytes() == log
    assert (done / 'report.html').read_bytes() == report
    said = capfd.readouterr().out
    assert 'training' not in said
    assert f'report:     {done}/report.html' in said


def test_an_edited_config_is_kept_and_gone_on_with(data, out, capfd):
    config = out / 'config.py'
    edited = config.read_text().replace('max_epochs = 1', 'max_epochs = 2')
    config.write_text(edited)
    assert again(data, out) == 0
    assert config.read_text() == edited
    assert f'{config} was edited, and is used as it is' in capfd.readouterr().out
    assert 'resumed epoch: 1' in (out / 'log.txt').read_text()
    assert (out / 'run/epoch_2.pth').is_file()


def test_other_arguments_and_other_data_are_refused(data, out, capfd):
    before = {path: path.stat().st_mtime_ns for path in out.rglob('*')}
    assert again(data, out, '--epochs', '3') == 2
    assert (
        'has a run with --epochs 1, --size 32: to go on with it, give the same'
        in capfd.readouterr().err
    )
    more = class_folders(out.parent / 'more' / 'shapes', 14)
    shutil.rmtree(out.parent / 'moved', ignore_errors=True)
    assert again(more, out) == 2
    assert f'--data {data}' in capfd.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in out.rglob('*')} == before


def test_nothing_is_lost_but_what_has_not_begun(tmp_path, capfd):
    data = class_folders(tmp_path / 'shapes', 12)
    out = tmp_path / 'out'
    other = tmp_path / 'other.pth'
    torch.save(dict(state_dict={'backbone.layer.weight': torch.zeros(1)}), other)
    assert again(data, out, *OPTIONS, '--weights', str(other)) == 2
    assert f'the checkpoint {other} has nothing for DWNet' in capfd.readouterr().err
    assert again(data, out) == 0  # as nothing was trained with these weights
    capfd.readouterr()
    (data / 'red/001.png').unlink()
    assert again(data, out) == 2
    assert 'the data are not those that the run in' in capfd.readouterr().err


def test_results_among_the_data_are_refused(data, capfd):
    before = sorted(data.rglob('*'))
    assert again(data, data / 'out') == 2
    assert 'would lie among the data' in capfd.readouterr().err
    assert sorted(data.rglob('*')) == before


def test_files_of_another_command_are_not_touched(data, tmp_path, capfd):
    (tmp_path / 'run').mkdir()
    (tmp_path / 'config.py').write_text('a = 1\n')
    assert again(data, tmp_path) == 2
    assert 'has files of another command' in capfd.readouterr().err
    assert (tmp_path / 'config.py').read_text() == 'a = 1\n'


@pytest.mark.parametrize(
    'options', [('--epochs', '0'), ('--val', '1'), ('--size', 'large'), ('--bad-data', 'keep')]
)
def test_arguments_out_of_range_are_refused(options, capsys):
    with pytest.raises(SystemExit) as end:
        finetune.main(['classify', 'data', *options])
    assert end.value.code == 2
    assert options[0] in capsys.readouterr().err


def run(script: str, *args: object, code: int = 0) -> str:
    """Run one of the tools; return what it printed."""
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    environment |= {'PYTHON': sys.executable, 'CUDA_VISIBLE_DEVICES': ''}
    start = ['bash'] if script.endswith('.sh') else [sys.executable]
    command = [*start, ROOT / 'tools' / script, *args]
    ended = subprocess.run(
        list(map(str, command)), env=environment, capture_output=True, text=True, timeout=500
    )
    assert ended.returncode == code, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def weights(out: Path) -> dict[str, torch.Tensor]:
    checkpoint = find_best(out / 'run')[0]
    return torch.load(checkpoint, weights_only=False)['state_dict']


@pytest.mark.slow
@pytest.mark.parametrize('task', FOLDERS)
def test_the_tools_run_the_config_unchanged(task, tmp_path):
    data = FOLDERS[task](tmp_path / 'data', 24)
    out, alone, both = tmp_path / 'out', tmp_path / 'alone', tmp_path / 'both'
    run('finetune.py', task, data, '--epochs', 2, '--out', out)
    for folder in (alone, both):
        folder.mkdir()
        shutil.copy(out / 'config.py', folder)
    run('train.py', alone / 'config.py')
    torch.testing.assert_close(weights(alone), weights(out), rtol=0, atol=0)
    results = json.loads((out / 'results.json').read_text())
    (alone / 'results').mkdir()
    run(
        'test.py',
        alone / 'config.py',
        find_best(alone / 'run')[0],
        '--work-dir',
        alone / 'results',
    )
    (found,) = (alone / 'results').glob('*/*.json')
    tested = json.loads(found.read_text())
    assert {key: tested[key] for key in results if results[key] is not None} == {
        key: value for key, value in results.items() if value is not None
    }
    run('dist_train.sh', both / 'config.py', 2)
    assert weights(both).keys() == weights(out).keys()


@pytest.mark.slow
@pytest.mark.parametrize('task', FOLDERS)
def test_killed_runs_end_with_the_same_report(task, tmp_path):
    data = FOLDERS[task](tmp_path / 'data', 24)
    # In folders of the same name, which the report tells.
    whole, cut = tmp_path / 'whole/out', tmp_path / 'cut/out'
    options = ('--epochs', 4, '--size', 64)
    run('finetune.py', task, data, *options, '--out', whole)
    draw = random.Random(0)
    command = [sys.executable, ROOT / 'tools/finetune.py', task, data, *options, '--out', cut]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGKILL):
        with subprocess.Popen(list(map(str, command)), env=environment) as process:
            try:
                assert process.wait(draw.uniform(10, 30)) == 0
            except subprocess.TimeoutExpired:
                process.send_signal(number)
                assert process.wait() in (75, -number)
    run('finetune.py', task, data, *options, '--out', cut)
    torch.testing.assert_close(weights(cut), weights(whole), rtol=0, atol=0)
    for name in ('results.json', 'report.html'):
        there, here = ((folder / name).read_text() for folder in (whole, cut))
        assert there.replace(str(whole), '') == here.replace(str(cut), '')
