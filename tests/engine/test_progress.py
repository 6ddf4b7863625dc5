"""The progress of a run on stderr, in lines and in a terminal."""

import os
import pty
import re
import sys
from pathlib import Path

import pytest
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmdwnet.engine import ProgressBarHook, progress

from .training import FUSED, Net, batches


def train(folder: Path) -> None:
    Runner(
        Net(),
        work_dir=str(folder),
        train_dataloader=DataLoader(batches(4), collate_fn=lambda batch: batch[0]),
        train_cfg=dict(by_epoch=True, max_epochs=2),
        optim_wrapper=dict(type='GuardedOptimWrapper', optimizer=FUSED),
        custom_hooks=[dict(type='ProgressBarHook')],
        experiment_name=folder.name,
    ).train()


def test_lines_are_printed_where_there_is_no_terminal(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(progress, '_EVERY', 0)
    train(tmp_path)
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith('train ')]
    assert len(lines) == 8
    assert re.fullmatch(r'train 4 of 8, 0:00:\d\d left', lines[3])


def test_lines_come_seldom(tmp_path, capfd):
    train(tmp_path)
    assert 'train 1 of 8' not in capfd.readouterr().err


def test_a_terminal_shows_one_bar_and_gets_its_cursor_back(tmp_path, monkeypatch):
    here, there = pty.openpty()
    with open(there, 'w') as terminal:
        monkeypatch.setattr(sys, '__stderr__', terminal)
        monkeypatch.setenv('TERM', 'xterm')
        train(tmp_path)
        shown = os.read(here, 2**16).decode()
    os.close(here)
    assert '100%' in shown and '0:00:00 left' in shown
    assert shown.rfind('\x1b[?25h') > shown.rfind('\x1b[?25l') > -1  # shown after it was hidden
    assert shown.count('\n') == 1


@pytest.fixture(autouse=True)
def _closed():
    yield
    ProgressBarHook.close()
