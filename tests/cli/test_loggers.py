"""The lines in docs/visualization.md make a training log to TensorBoard or Weights & Biases."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # imports of packages that nothing else needs
PAGE = Path(__file__).parents[2] / 'docs' / 'visualization.md'


@pytest.fixture
def log_to(command: Callable, config: str, tmp_path: Path) -> Callable[[str], Path]:
    """Trains with the line for a backend; returns the folder of its logs."""

    def run(backend: str) -> Path:
        (line,) = re.findall(rf'^visualizer = .*{backend}.*$', PAGE.read_text(), re.MULTILINE)
        changed = tmp_path / 'changed.py'
        changed.write_text(f'_base_ = {config!r}\n{line}\n')
        code, stderr = command('train', str(changed), changes=('default_hooks.logger.interval=1',))
        assert code == 0, stderr
        (folder,) = tmp_path.glob('work/*/vis_data')
        assert '"loss"' in (folder / 'scalars.json').read_text()  # for curves.py, as before
        return folder

    return run


def test_tensorboard(log_to: Callable[[str], Path]):
    pytest.importorskip('tensorboard', reason='needs tensorboard: pip install tensorboard')
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(log_to('TensorboardVisBackend')))
    events.Reload()
    assert {'loss', 'lr', 'accuracy/top1'} <= set(events.Tags()['scalars'])
    assert [entry.step for entry in events.Scalars('loss')] == [1, 2]


def test_wandb_offline(log_to: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip('wandb', reason='needs wandb: pip install wandb')
    monkeypatch.setenv('WANDB_MODE', 'offline')
    (log,) = log_to('WandbVisBackend').rglob('offline-run-*/run-*.wandb')
    assert log.stat().st_size > 0
