"""The demo, whole, on a small set with short trainings."""

import json
from pathlib import Path

import pytest
from mmengine.config import Config

from demo.digit_scenes import PALETTE, SEG_CLASSES, DigitSceneOptions
from demo.run import main, run_demo
from demo.tasks import TASKS
from mmdwnet.errors import UserError

CHECKOUT = Path(__file__).parents[2]
OPTIONS = DigitSceneOptions(
    cls_size=32,
    cls_every=10,
    cls_train_per_digit=1,
    cls_val_per_digit=1,
    scene_size=96,
    train_scenes=6,
    val_scenes=3,
    min_digit_size=30,
    max_digit_size=60,
)
SHORT = ('--epochs', '1', '--size', '64')


@pytest.fixture(scope='module')
def demo(tmp_path_factory) -> Path:
    """A folder in which the demo has run."""
    root = tmp_path_factory.mktemp('checkout')
    (root / 'tools').symlink_to(CHECKOUT / 'tools')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        run_demo(OPTIONS, *SHORT)
    return root


def test_each_task_has_a_report_and_scores(demo):
    results = json.loads((demo / 'work_dirs/demo/results.json').read_text())
    assert set(results) == {'top1', 'bbox_mAP', 'segm_mAP', 'mIoU', 'minutes'}
    assert all(0 <= results[key] <= 100 for key in results)
    for task in TASKS:
        assert (demo / task.out / 'report.html').read_text().startswith('<!doctype html>')


def test_detector_and_segmentor_start_from_the_classifier(demo):
    best = 'work_dirs/demo/classify/run/best_accuracy_top1_epoch_1.pth'
    for task in TASKS[1:]:
        assert best in (demo / task.out / 'config.py').read_text()


def test_segmentor_knows_the_names_of_the_classes(demo):
    config = Config.fromfile(demo / TASKS[2].out / 'config.py')
    assert config.metainfo.classes == list(SEG_CLASSES)
    assert config.metainfo.palette == PALETTE


@pytest.mark.slow
def test_second_run_trains_nothing(demo, monkeypatch, capsys):
    monkeypatch.chdir(demo)
    before = json.loads((demo / 'work_dirs/demo/results.json').read_text())
    after = run_demo(OPTIONS, *SHORT)
    out = capsys.readouterr().out
    assert 'is there already; reused' in out
    assert 'its log is' not in out
    assert after['minutes'] >= before.pop('minutes')
    assert before == {key: after[key] for key in before}


@pytest.mark.slow
def test_failing_command_is_named_after_what_it_said(demo, monkeypatch, capfd):
    monkeypatch.chdir(demo)
    with pytest.raises(UserError, match=r'finetune.py classify data/digit_scenes/imagenet .*fail'):
        run_demo(OPTIONS, *SHORT, '--batch-size', '3')
    assert 'classify: ' in (out := capfd.readouterr().out)
    assert 'has a run with --batch-size None' in out


def test_folder_that_cannot_be_written_is_told_before_anything_is_made(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'work_dirs').touch()
    assert main() == 2
    assert capsys.readouterr().err.startswith('the folder work_dirs/demo cannot be written')
    assert not (tmp_path / 'data').exists()


@pytest.mark.slow
def test_full_demo_reaches_its_scores(monkeypatch):
    monkeypatch.chdir(CHECKOUT)
    results = run_demo()
    assert results['top1'] >= 98
    assert results['bbox_mAP'] >= 75
    assert results['segm_mAP'] >= 72
    assert results['mIoU'] >= 80
