"""Logs that wait for the GPU only when they are written."""

from typing import Any

from mmengine.hooks import LoggerHook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from .optim_wrapper import GuardedOptimWrapper


@HOOKS.register_module()
class GuardedLoggerHook(LoggerHook):
    """mmengine's LoggerHook, for which `GuardedOptimWrapper` reports when there is a log to write.

    Between two logs, the host does not wait for the GPU to know whether a batch was dropped. The
    warning comes with the log, and too many dropped batches in a row end the run there.
    """

    def before_train(self, runner: Runner) -> None:
        """Have the optimizer wrapper wait with its reports."""
        super().before_train(runner)
        if isinstance(runner.optim_wrapper, GuardedOptimWrapper):
            runner.optim_wrapper.deferred = True

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Log if it is due."""
        due = self.every_n_inner_iters(batch_idx, self.interval)
        if due or self.end_of_epoch(runner.train_dataloader, batch_idx):
            self._report(runner)
        super().after_train_iter(runner, batch_idx, data_batch, outputs)

    def after_train(self, runner: Runner) -> None:
        """Report the rest."""
        self._report(runner)
        super().after_train(runner)

    def _report(self, runner: Runner) -> None:
        if isinstance(runner.optim_wrapper, GuardedOptimWrapper):
            runner.optim_wrapper.report()
