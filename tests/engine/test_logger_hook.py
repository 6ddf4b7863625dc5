from pathlib import Path

import pytest
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmdwnet.errors import UserError

from .training import FUSED, NAN, Net, batches


class Seen(Hook):
    """Notes how many drops are known after each iteration."""

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.dropped: list[int] = []
        self.log = ''

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.dropped.append(runner.optim_wrapper.dropped)


@pytest.fixture
def run(tmp_path: Path):
    """Trains on 8 batches, with a log after the third and the sixth."""

    def run(harmed: tuple[int, ...], logger: str = 'GuardedLoggerHook', **options) -> Seen:
        seen = Seen()
        data = batches(8, dict.fromkeys(harmed, ('loss', NAN)))
        runner = Runner(
            Net(),
            str(tmp_path),
            train_dataloader=DataLoader(data, collate_fn=lambda batch: batch[0]),
            train_cfg=dict(by_epoch=True, max_epochs=1),
            optim_wrapper=dict(type='GuardedOptimWrapper', optimizer=FUSED, **options),
            default_hooks=dict(logger=dict(type=logger, interval=3), checkpoint=None),
            custom_hooks=[seen],
            experiment_name='drops',
        )
        try:
            runner.train()
        finally:
            (log,) = tmp_path.glob('*/*.log')
            seen.log = log.read_text()
        return seen

    return run


def test_drops_are_told_when_a_log_is_written(run):
    seen = run((0, 3, 6))
    assert seen.dropped == [0, 0, 1, 1, 1, 2, 2, 3]  # the epoch ends after the eighth
    lines = [line for line in seen.log.splitlines() if 'dropped' in line]
    order = ['iteration 1:', '[3/8]', 'iteration 4:', '[6/8]', 'iteration 7:']
    assert len(lines) == len(order)
    for line, told in zip(lines, order, strict=True):
        assert told in line


def test_with_mmengines_hook_they_are_told_at_once(run):
    assert run((0, 3), 'LoggerHook').dropped == [1, 1, 1, 2, 2, 2, 2, 2]


def test_too_many_drops_end_the_run_with_the_log(run):
    with pytest.raises(UserError, match='3 batches in a row were dropped, the last in iteration 5'):
        run((2, 3, 4), max_dropped_in_a_row=2)
