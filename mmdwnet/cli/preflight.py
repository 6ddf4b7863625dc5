"""What is built and checked before a run, and the Runner that goes on with it."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import DefaultSampler
from mmengine.dist import get_world_size, sync_random_seed
from mmengine.evaluator import Evaluator
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import RUNNERS
from mmengine.runner import BaseLoop, Runner, set_random_seed
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler

from mmdwnet.apis.building import build_model, resolve, skips_bad_data
from mmdwnet.checkpoints.latest import training_meta
from mmdwnet.engine.loaders import CheckedLoader, checked, leave_out_bad
from mmdwnet.errors import UserError
from mmdwnet.models.mixers import DynamicMixer

from . import checks, data, environment

_FINITE = (DefaultSampler, SequentialSampler, RandomSampler)


@dataclass
class Built:
    """A model before `init_weights`, and the random state that building it left.

    Args:
        model: The model.
        randomness: Of the config, with the seed that was drawn if it gives none.
        state: Of torch's generator.
        compiled: Whether its backbone is compiled.
    """

    model: nn.Module
    randomness: dict
    state: Tensor
    compiled: bool = False


def preflight(
    cfg: Config, kinds: Iterable[str], folders: Iterable[str] = (), files: Iterable[str] = ()
) -> Built:
    """Check processes, folders and data, and build the model as the Runner would.

    Args:
        cfg: The config.
        kinds: The data to check, of 'train', 'val' and 'test'.
        folders: Folders to be written to, besides the work dir.
        files: Files to be written.

    Returns:
        The model.

    Raises:
        UserError: The input is bad.
    """
    skips_bad_data(cfg)
    environment.check_processes(cfg.launcher, os.environ, torch.cuda.device_count())
    if environment.checks_files(cfg.launcher):
        for folder in (cfg.work_dir, *folders):
            checks.check_folder(folder)
        for file in files:
            checks.check_file(file)
        checks.check_data(cfg, *kinds)
    randomness = dict(cfg.get('randomness') or {})
    if randomness.get('seed') is None:
        randomness['seed'] = _resumed_seed(cfg)
    if randomness['seed'] is None:
        randomness['seed'] = sync_random_seed()
    set_random_seed(**randomness)
    model = build_model(cfg)
    if not torch.cuda.is_available():
        model = revert_sync_batchnorm(model)  # SyncBN cannot run on the CPU
    return Built(model, randomness, torch.get_rng_state())


def make_runner(cfg: Config, built: Built, read: dict) -> Runner:
    """Make the Runner of a config around a model that is built already.

    Args:
        cfg: The config; its `runner_type` is respected.
        built: The model. Weights and random numbers are those of a Runner that builds it itself.
        read: The checkpoints that were read, to be freed once the run has loaded them.

    Returns:
        The Runner.
    """
    base = resolve(RUNNERS, cfg.get('runner_type', Runner))
    skip = skips_bad_data(cfg)
    classes = data.known_classes(cfg)

    class PreparedRunner(base):  # type: ignore[misc, valid-type]
        def set_randomness(self, **_: object) -> None:
            super().set_randomness(**built.randomness)

        def build_model(self, _: dict) -> nn.Module:
            torch.set_rng_state(built.state)
            return built.model

        @staticmethod
        def build_dataloader(loader: DataLoader | dict, *args: Any, **kwargs: Any) -> DataLoader:
            if isinstance(loader, dict):
                loader = {**loader, 'dataset': data.with_checks(loader['dataset'], skip)}
            return checked(base.build_dataloader(loader, *args, **kwargs), classes)

        def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
            loop = super().build_train_loop(loop)
            if skip and isinstance(loop.dataloader, CheckedLoader):
                loop.dataloader.replace = True
            return loop

        def build_val_loop(self, loop: BaseLoop | dict) -> BaseLoop:
            return self._skip_bad(super().build_val_loop(loop), cfg.val_dataloader)

        def build_test_loop(self, loop: BaseLoop | dict) -> BaseLoop:
            return self._skip_bad(super().build_test_loop(loop), cfg.test_dataloader)

        def build_evaluator(self, evaluator: dict | list | Evaluator) -> Evaluator:
            return super().build_evaluator(data.without_faults(evaluator) if skip else evaluator)

        def _skip_bad(self, loop: BaseLoop, loader: dict) -> BaseLoop:
            if skip and isinstance(loop.dataloader, CheckedLoader):
                leave_out_bad(
                    loop,
                    lambda kept: self.build_dataloader({**loader, 'dataset': kept}, seed=self.seed),
                )
            return loop

        def train(self) -> nn.Module:
            try:
                return super().train()
            finally:
                self._end_workers(self._train_loop, self._val_loop)

        def test(self) -> dict:
            try:
                return super().test()
            finally:
                self._end_workers(self._test_loop)

        def _end_workers(self, *loops: BaseLoop | dict | None) -> None:
            for loop in loops:
                if isinstance(loader := getattr(loop, 'dataloader', None), CheckedLoader):
                    loader.end_workers()

        def _maybe_compile(self, target: str) -> None:
            if built.compiled:
                self.logger.info('the first iterations compile the backbone and take longer')
            else:
                super()._maybe_compile(target)

        def load_or_resume(self) -> None:
            try:
                super().load_or_resume()
            except Exception as error:  # mmengine trusts a checkpoint's parts to be its own
                if not self._resume or isinstance(error, UserError):
                    raise
                raise UserError(
                    f'training cannot be resumed from {self._load_from}, which has the weights of '
                    f'the model, but not the rest: {type(error).__name__}; start a training from '
                    'it by --cfg-options load_from=... instead'
                ) from error
            read.clear()

    return PreparedRunner.from_cfg(cfg)


def _resumed_seed(cfg: Config) -> int | None:
    """Return the seed of the training that a config resumes, if any."""
    meta = training_meta(cfg.load_from) if cfg.get('resume') else None
    return meta.get('seed') if meta else None


def check_last_batch(runner: Runner, model: nn.Module) -> None:
    """Refuse to train if the last batch of an epoch has one image but needs two.

    Args:
        runner: The Runner; it builds its data loader if it has not yet.
        model: Its model.

    Raises:
        UserError: A dynamic mixer would see one value per channel.
    """
    batches = runner.train_dataloader.batch_sampler
    # Others may go on without end, or end otherwise.
    if not isinstance(batches, BatchSampler) or not isinstance(batches.sampler, _FINITE):
        return
    images = len(batches.sampler)
    last = images - (len(batches) - 1) * batches.batch_size
    if last == 1 and len(batches) <= runner.max_iters and needs_two(model, get_world_size() > 1):
        raise UserError(
            f'the last of {len(batches)} batches has one image per process ({images} in batches of '
            f'{batches.batch_size}), on which the dynamic mixer cannot train: set drop_last=True '
            'in train_dataloader (or its batch_sampler), or choose another batch_size'
        )


def needs_two(model: nn.Module, distributed: bool) -> bool:
    """Return whether a dynamic mixer's BN would train on one value per channel with one image.

    Args:
        model: The model.
        distributed: Whether there are several processes, whose images SyncBN sees together.
    """
    norms = [module.bn for module in model.train().modules() if isinstance(module, DynamicMixer)]
    return any(
        isinstance(norm, _BatchNorm)
        and norm.training
        and not (distributed and isinstance(norm, nn.SyncBatchNorm))
        for norm in norms
    )
