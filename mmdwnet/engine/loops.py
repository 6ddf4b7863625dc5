"""Training loops that go on exactly where a checkpoint left them."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from mmengine.dist import get_world_size
from mmengine.registry import LOOPS
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from mmdwnet.errors import DataError

from .batches import ResumableBatches, resumable
from .loaders import CheckedLoader
from .places import Stretch
from .randomness import seed_devices


class Resumable(BaseLoop):
    """What both loops have in common: random numbers, validation, and the place in the data.

    Attributes:
        stretches: What has been trained on, of the epoch, or without epochs of the whole training.
        seen: The position of the next batch in it.
    """

    dataloader: DataLoader
    _iter: int
    val_begin: int
    val_interval: int
    _decide_current_val_interval: Callable[[], None]

    def _begin(self) -> None:
        """Forget what has been trained on."""
        self.seen = 0
        size = getattr(self.dataloader.batch_sampler, 'batch_size', None)
        self.stretches = [Stretch(get_world_size(), size or 1)]

    def start_at(self, stretches: list[Stretch]) -> None:
        """Have the training begin behind what has been trained on.

        Args:
            stretches: What has been trained on, in order.
        """
        batches = self.dataloader.batch_sampler
        if isinstance(batches, ResumableBatches):
            self.stretches = batches.after(stretches)
            self.seen = batches.position(self.stretches)

    def run_iter(self, *args: Any) -> None:
        """Run an iteration with random numbers that depend on nothing before it."""
        self.seen += 1
        self.stretches[-1].batches += 1
        seed_devices(self.runner.seed, self.runner.rank, self._iter)
        super().run_iter(*args)  # type: ignore[misc]

    def _set_place(self) -> None:
        """Have the data begin behind what was seen."""
        batches = self.dataloader.batch_sampler
        if isinstance(batches, ResumableBatches):
            batches.stretches, batches.iteration = self.stretches, self._iter

    def _batches(self) -> Iterator[object]:
        try:
            yield from self.dataloader
        except DataError:
            self.runner.call_hook('on_bad_data')
            raise

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
            # Images of validation often have other sizes, each of which would be compiled.
            with torch.compiler.set_stance('force_eager'):
                self.runner.val_loop.run()


@LOOPS.register_module()
class ResumableEpochBasedTrainLoop(Resumable, EpochBasedTrainLoop):
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
        self._begin()

    def start_at(self, stretches: list[Stretch]) -> None:
        """Have the training begin behind what has been trained on."""
        super().start_at(stretches)
        if len(self.stretches) > 1:
            self._iter = self._epoch * len(self.dataloader) + self.seen

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
        for index, batch in enumerate(self._batches(), self.seen):
            self.run_iter(index, batch)
        self._begin()
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1


@LOOPS.register_module()
class ResumableIterBasedTrainLoop(Resumable, IterBasedTrainLoop):
    """mmengine's loop over iterations, exact after resuming.

    Args:
        runner: The Runner.
        dataloader: The data, or their config.
        **kwargs: As for mmengine's loop.
    """

    def __init__(self, runner: Runner, dataloader: DataLoader | dict, **kwargs: Any) -> None:
        loader = dataloader
        if isinstance(loader, dict):
            diff_rank_seed = (runner.cfg.get('randomness') or {}).get('diff_rank_seed', False)
            loader = runner.build_dataloader(
                loader, seed=runner.seed, diff_rank_seed=diff_rank_seed
            )
        # mmengine 0.10 starts workers here, which would read from the first image on.
        idle = copy.copy(loader)
        vars(idle).update(num_workers=0, timeout=0)
        super().__init__(runner, idle, **kwargs)
        self.dataloader = resumable(loader, runner.seed, endless=True)
        self._begin()

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
            yield from super()._batches()
