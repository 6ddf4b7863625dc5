"""A training that was stopped anywhere goes on as if it had not been."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch


def state(path: Path) -> list[dict]:
    checkpoint = torch.load(path, weights_only=False)
    return [checkpoint['state_dict'], checkpoint['optimizer']['state']]


def assert_same(first: object, second: object) -> None:
    """Compare bit for bit."""
    torch.testing.assert_close(first, second, rtol=0, atol=0)


@pytest.fixture
def undisturbed(run: Callable[..., int], tmp_path: Path) -> dict:
    assert run('whole') == 0
    return state(tmp_path / 'whole/epoch_3.pth')


@pytest.mark.parametrize(
    ('iteration', 'workers'),
    [(4, (0, 0)), (15, (2, 0)), (21, (0, 2)), (31, (1, 2))],
)
def test_stopped_and_resumed_runs_end_alike(run, tmp_path, undisturbed, iteration, workers):
    told = dict(type='SignalAt', iteration=iteration)
    assert run('cut', workers=workers[0], hooks=[told]) == 75
    (tmp_path / 'cut.read').unlink()
    assert run('cut', '--resume', workers=workers[1]) == 0
    assert_same(state(tmp_path / 'cut/epoch_3.pth'), undisturbed)
    # What was trained on before is not read again.
    read = (tmp_path / 'cut.read').read_text().split()
    done = (iteration + 1) * 2
    whole = (tmp_path / 'whole.read').read_text().split()
    assert sorted(read) == sorted(whole[done:])
