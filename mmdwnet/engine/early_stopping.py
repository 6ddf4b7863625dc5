"""Early stopping of runs that may be killed and resumed."""

from mmengine.hooks import EarlyStoppingHook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

_KEY = 'early_stopping'


@HOOKS.register_module()
class ResumableEarlyStoppingHook(EarlyStoppingHook):
    """mmengine's EarlyStoppingHook, which keeps its count in the checkpoints.

    A run that was killed and resumed stops after the same validation as an undisturbed one. It runs
    before the checkpoint hook, whose best checkpoint must have the count of its own validation.

    Args:
        *args: As for mmengine's hook.
        **kwargs: As for mmengine's hook.
    """

    priority = 'LOW'

    def before_run(self, runner: Runner) -> None:
        """Do nothing: mmengine's hook would load the training data for a test."""

    def before_train(self, runner: Runner) -> None:
        """Go on from the count of the checkpoint that the run resumes from."""
        if runner.iter == 0 or _KEY not in runner.message_hub.runtime_info:
            return
        state = runner.message_hub.get_info(_KEY)
        self.best_score, self.wait_count = state['best_score'], state['wait_count']
        # By the patience of this run: it may have been raised to go on.
        runner.train_loop.stop_training = self.wait_count >= self.patience

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float]) -> None:
        """Decide whether to stop, and note the count for the next checkpoint."""
        super().after_val_epoch(runner, metrics)
        state = dict(best_score=float(self.best_score), wait_count=self.wait_count)
        runner.message_hub.update_info(_KEY, state)
