"""A progress bar with the time left."""

import atexit
import sys
import time
from datetime import timedelta
from typing import Any, ClassVar

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

_EVERY = 10  # seconds between two lines where there is no terminal


@HOOKS.register_module()
class ProgressBarHook(Hook):
    """Show on stderr how far a training or test is, and the time left.

    In a terminal this is a bar, otherwise a line about every ten seconds. The time left is computed
    from the time so far, including validations.
    """

    priority = 'VERY_LOW'
    _bar: ClassVar[Progress | None] = None  # a process shows one at a time

    def __init__(self) -> None:
        # Not sys.stderr, which may be redirected to a log.
        self._console = Console(file=sys.__stderr__)

    @classmethod
    def close(cls) -> None:
        """Remove the bar, also after an error, so that the terminal shows its cursor again."""
        if cls._bar is not None:
            cls._bar.stop()
            ProgressBarHook._bar = None

    def before_train(self, runner: Runner) -> None:
        """Begin to measure."""
        self._begin(runner.iter)

    def before_test(self, runner: Runner) -> None:
        """Begin to measure."""
        self._begin(0)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Show the progress of the training."""
        self._show('train', runner.iter + 1, runner.max_iters)

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Show that a validation within the training goes on."""
        if runner.max_iters > 0:  # otherwise there is no training
            text = f'validation {batch_idx + 1} of {len(runner.val_dataloader)}; train'
            self._show(text, runner.iter, runner.max_iters)

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Show the progress of the test."""
        self._show('test', batch_idx + 1, len(runner.test_dataloader))

    def after_train(self, runner: Runner) -> None:
        """End the bar."""
        self.close()

    def after_test(self, runner: Runner) -> None:
        """End the bar."""
        self.close()

    def _begin(self, done: int) -> None:
        self.close()
        self._first, self._start = done, time.monotonic()
        self._last = self._start
        if is_main_process() and self._console.is_terminal:
            columns = (TextColumn('{task.description}'), BarColumn(), TaskProgressColumn())
            left = TextColumn('{task.fields[left]}')
            bar = Progress(*columns, left, console=self._console, auto_refresh=False)
            bar.add_task('', total=None, left='')
            bar.start()
            atexit.register(bar.stop)
            ProgressBarHook._bar = bar

    def _show(self, text: str, done: int, total: int) -> None:
        if not is_main_process():
            return
        now, own = time.monotonic(), done - self._first
        seconds = (now - self._start) / own * (total - done) if own > 0 else None
        left = '' if seconds is None else f'{timedelta(seconds=round(seconds))} left'
        if self._bar is not None:
            (task,) = self._bar.task_ids
            self._bar.update(
                task, description=text, completed=done, total=total, left=left, refresh=True
            )
        elif now - self._last >= _EVERY:
            self._last = now
            self._console.print(f'{text} {done} of {total}, {left}'.rstrip(', '))
