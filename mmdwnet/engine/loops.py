"""Training loops that go on exactly where a checkpoint left them."""

import copy
from collections.abc import Iterator
from typing import Any

from mmengine.dist import get_world_size
from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from .batches import ResumableBatches, resumable
from .loaders import CheckedLoader
from .randomness import seed_devices


class _Resumable:
    """What both loops have in common: random numbers, validation, and the place in the data.

    Attributes:
        seen: How many batches of the epoch, or of a training without epochs, have been trained on.
            A checkpoint hook keeps it.
    """

    seen = 0

    def run_iter(self, *args: Any) -> None:
        """Run an iteration with random numbers that depend on nothing before it."""
        self.seen += 1
        seed_devices(self.runner.seed, self.runner.rank, self._iter)
        super().run_iter(*args)

    def _set_place(self) -> None:
        """Have the data begin behind what was seen."""
        batches = self.dataloader.batch_sampler
        if isinstance(batches, ResumableBatches):
            batches.skipped, batches.iteration = self.seen, self._iter

    def _validate(self, steps: int, last: int) -> None:
        """Validate where it is due and has not been done before the checkpoint was written."""
        self._decide_current_val_interval()
        hub = self.runner.message_hub
        if (
            self.runner.val_loop is not None
            and steps >= self.val_begin
            and (steps % self.val_interval == 0 or steps == last)
            and hub.runtime_info.get('steps_validated') != steps
        ):
            hub.update_info('steps_validated', steps)
            self.runner.val_loop.run()


@LOOPS.register_module()
class ResumableEpochBasedTrainLoop(_Resumable, EpochBasedTrainLoop):
    """mmengine's loop over epochs, exact after resuming, even from amid an epoch.

    Random numbers are seeded anew for each iteration and each image, so that they depend neither on
    the number of DataLoader workers nor on a restart.

    Args:
        runner: The Runner.
        dataloader: The data, or their config.
        **kwargs: As for mmengine's loop.
    """

    def __init__(self, runner: Runner, dataloader: DataLoader | dict, **kwargs: Any) -> None:
        super().__init__(runner, dataloader, **kwargs)
        self.dataloader = resumable(self.dataloader, runner.seed)

    def run(self) -> object:
        """Train and validate; return the model."""
        self.runner.call_hook('before_train')
        if self._epoch > 0 and self.seen == 0:
            self._validate(self._epoch, self._max_epochs)
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._validate(self._epoch, self._max_epochs)
        self.runner.call_hook('after_train')
        return self.runner.model

    def run_epoch(self) -> None:
        """Train for an epoch, or for what is left of it."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        self._set_place()
        for index, batch in enumerate(self.dataloader, self.seen):
            self.run_iter(index, batch)
        self.seen = 0
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1


@LOOPS.register_module()
class ResumableIterBasedTrainLoop(_Resumable, IterBasedTrainLoop):
    """mmengine's loop over iterations, exact after resuming.

    Args:
        runner: The Runner.
        dataloader: The data, or their config.
        **kwargs: As for mmengine's loop.
    """

    def __init__(self, runner: Runner, dataloader: DataLoader | dict, **kwargs: Any) -> None:
        if isinstance(dataloader, dict):
            diff_rank_seed = (runner.cfg.get('randomness') or {}).get('diff_rank_seed', False)
            dataloader = runner.build_dataloader(
                dataloader, seed=runner.seed, diff_rank_seed=diff_rank_seed
            )
        # mmengine 0.10 starts workers here, which would read from the first image on.
        idle = copy.copy(dataloader)
        vars(idle).update(num_workers=0, timeout=0)
        super().__init__(runner, idle, **kwargs)
        self.dataloader = resumable(dataloader, runner.seed, endless=True)

    def run(self) -> object:
        """Train and validate; return the model."""
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        if self._iter > 0:
            self._validate(self._iter, self._max_iters)
        self._set_place()
        self.dataloader_iterator = self._batches()
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(self.dataloader_iterator))
            self._report_data()
            self._validate(self._iter, self._max_iters)
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model

    def _report_data(self) -> None:
        """Report bad data after each pass over them, and at the end."""
        loader = self.dataloader
        if isinstance(loader, CheckedLoader) and isinstance(loader.batch_sampler, ResumableBatches):
            step = loader.batch_sampler.batch_size * get_world_size()
            before, now = ((self.seen - ago) * step // len(loader.dataset) for ago in (1, 0))
            if now > before or self._iter == self._max_iters:
                loader.report()

    def _batches(self) -> Iterator[object]:
        while True:  # where the data are read in no order of ours, they end
            yield from self.dataloader
