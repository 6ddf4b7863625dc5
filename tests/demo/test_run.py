"""The demo, whole, on a small set with short schedules."""

import base64
import json
import re
import threading
from pathlib import Path

import pytest
from mmengine.config import Config

from demo.digit_scenes import DigitSceneOptions
from demo.run import Progress, main, run_demo
from demo.tasks import TASKS
from mmdwnet.errors import UserError

CHECKOUT = Path(__file__).parents[2]
OPTIONS = DigitSceneOptions(
    cls_train_per_digit=1, cls_val_per_digit=1, train_scenes=16, val_scenes=12
)
FEW_ITERATIONS = (
    'train_cfg = dict(max_iters=4, val_interval=2)\n'
    'default_hooks = dict(\n'
    '    checkpoint=dict(interval=2, max_keep_ckpts=2), logger=dict(interval=2)\n'
    ')\n'
)
SHORTER = {
    'classify': (
        'train_cfg = dict(max_epochs=1)\n'
        'default_hooks = dict(logger=dict(interval=1))\n'
        'train_dataloader = dict(dataset=dict(indices=96))\n'
        'val_dataloader = dict(dataset=dict(indices=48))\n'
        'test_dataloader = val_dataloader\n'
    ),
    'detect': FEW_ITERATIONS,
    'segment': FEW_ITERATIONS,
}


@pytest.fixture(scope='module')
def demo(tmp_path_factory) -> Path:
    """A folder in which the demo has run, on configs that are the real ones but shorter."""
    root = tmp_path_factory.mktemp('checkout')
    (root / 'tools').symlink_to(CHECKOUT / 'tools')
    for task in TASKS:
        config = root / task.config
        config.parent.mkdir(parents=True, exist_ok=True)
        lines = [f'_base_ = {str(CHECKOUT / task.config)!r}\n', SHORTER[task.name]]
        if task.name != 'classify':
            checkpoint = 'work_dirs/demo/classify/epoch_1.pth'
            lines.append(f'model = dict(backbone=dict(init_cfg=dict(checkpoint={checkpoint!r})))\n')
        config.write_text(''.join(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        run_demo(OPTIONS)
    return root


def test_results_and_report_say_the_same(demo):
    results = json.loads((demo / 'work_dirs/demo/results.json').read_text())
    assert set(results) == {'top1', 'bbox_mAP', 'segm_mAP', 'mIoU', 'minutes'}
    assert all(0 <= results[key] <= 100 for key in results)
    page = (demo / 'work_dirs/demo/report.html').read_text()
    cells = re.findall(r'<td>(.*?)</td>', page)
    assert cells == [f'{value:.1f}' for value in results.values()]


def test_report_is_self_contained(demo):
    page = (demo / 'work_dirs/demo/report.html').read_text()
    sources = re.findall(r'src="(.*?)"', page)
    assert len(sources) == 4  # curves, and pictures of three tasks
    for source in sources:
        header, data = source.split(',')
        assert header == 'data:image/png;base64'
        assert base64.b64decode(data).startswith(b'\x89PNG')
    # In base64 these four letters can occur by chance.
    assert 'http' not in re.sub(r'src=".*?"', '', page)


def test_second_run_reuses_everything(demo, monkeypatch, capsys):
    monkeypatch.chdir(demo)
    before = json.loads((demo / 'work_dirs/demo/results.json').read_text())
    after = run_demo(OPTIONS)
    out = capsys.readouterr().out
    assert out.count('is there already; reused') == 4  # the data and three tasks
    assert {key: after[key] for key in before if key != 'minutes'} == {
        key: before[key] for key in before if key != 'minutes'
    }


def test_configs_are_read_in_the_main_thread(demo, monkeypatch):
    # Python 3.11's parser fails now and then where two threads use it.
    monkeypatch.chdir(demo)
    read, threads = Config.fromfile, []

    def watched(*args, **kwargs):
        threads.append(threading.current_thread())
        return read(*args, **kwargs)

    monkeypatch.setattr(Config, 'fromfile', watched)
    run_demo(OPTIONS)
    assert threads == [threading.main_thread()] * len(TASKS)


def test_interrupted_run_goes_on(demo, monkeypatch):
    monkeypatch.chdir(demo)
    task = TASKS[2]
    state = json.loads((task.work_dir / 'state.json').read_text())
    del state['metrics']  # as if it had stopped before the test
    (task.work_dir / 'state.json').write_text(json.dumps(state))
    last = task.work_dir / 'last_checkpoint'
    last.write_text(last.read_text().replace('iter_4', 'iter_2'))  # and halfway through training
    run_demo(OPTIONS)
    assert 'resumed epoch: 0, iter: 2' in (task.work_dir / 'train.log').read_text()
    again = json.loads((task.work_dir / 'state.json').read_text())
    assert 'mIoU' in again['metrics']
    assert again['seconds'] > state['seconds']


def test_failing_tool_says_where_its_output_is(demo, monkeypatch):
    monkeypatch.chdir(demo)
    config = demo / TASKS[2].config
    text = config.read_text()
    config.write_text(text + "model['backbone']['arch'] = 'huge'\n")
    try:
        with pytest.raises(UserError, match=r"train.log, which ends in: .*no arch 'huge'"):
            run_demo(OPTIONS)
    finally:
        config.write_text(text)


def test_folder_that_cannot_be_written_is_told_before_anything_is_made(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'work_dirs').touch()
    assert main() == 2
    assert capsys.readouterr().err.startswith('the folder work_dirs/demo cannot be written')
    assert not (tmp_path / 'data').exists()


def test_progress_counts_training_and_not_the_validation_within_it(capsys):
    progress = Progress(waiting=[])
    progress.follow(TASKS[1], 'train', 'INFO - Iter(val) [25/25]    eta: 0:00:00  time: 0.2730')
    assert capsys.readouterr().out == ''
    progress.follow(TASKS[1], 'train', 'INFO - Iter(train) [ 25/500]  lr: 2e-04  eta: 0:04:55')
    assert capsys.readouterr().out == 'detect: train: 4:55 left; demo: about 4:55 left\n'


@pytest.mark.slow
def test_full_demo_reaches_its_scores(monkeypatch):
    monkeypatch.chdir(CHECKOUT)
    results = run_demo()
    assert results['top1'] >= 98
    assert results['bbox_mAP'] >= 75
    assert results['segm_mAP'] >= 72
    assert results['mIoU'] >= 80
