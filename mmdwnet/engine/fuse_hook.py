"""A fused model for tests."""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

from mmdwnet.deploy.fusing import fuse


@HOOKS.register_module()
class FuseHook(Hook):
    """Test with a fused copy of the model; training and checkpoints keep the model itself.

    In a config: `custom_hooks = [dict(type='FuseHook')]`; `tools/test.py --fuse` adds it.
    """

    # Last, so that the copy gets the weights that an EMAHook puts in before a test.
    priority = 'LOWEST'

    def __init__(self) -> None:
        self._model: nn.Module | None = None

    def before_test_epoch(self, runner: Runner) -> None:
        """Put the fused copy in the model's place."""
        self._model = runner.model
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        runner.model = fuse(model.eval())

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Put the model back."""
        runner.model = self._model
