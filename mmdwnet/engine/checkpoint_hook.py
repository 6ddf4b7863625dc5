"""Checkpoints that a run can always come back from."""

import os
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mmengine.dist import all_gather_object, get_rank, get_world_size, is_main_process
from mmengine.fileio import BaseStorageBackend, LocalBackend, get_file_backend
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop, Runner

from mmdwnet.errors import UserError

from . import files
from .loops import Resumable
from .places import Stretch
from .refitting import describe, refit
from .stopping import Stopped, StopRequest


@HOOKS.register_module()
class ResumableCheckpointHook(CheckpointHook):
    """mmengine's CheckpointHook, for runs that are killed, told to stop, or short of disk space.

    A checkpoint is written whole or not at all, and none is removed before its successor is there.
    `last_checkpoint` names it within the work dir, so that a work dir may be moved. It has all that
    the loops in `loops.py` need to go on exactly, gradients that are being accumulated included.

    A checkpoint that cannot be written is told in a warning, and training goes on.

    On SIGTERM, SIGUSR1 and Ctrl-C, the run finishes the iteration, writes a checkpoint and exits
    with code 75. A second Ctrl-C interrupts it at once.

    Args:
        *args: As for mmengine's hook.
        max_failures: How many checkpoints in a row may fail to be written; the next one ends the
            run. Defaults to 3.
        **kwargs: As for mmengine's hook.

    Raises:
        UserError: More checkpoints in a row than allowed could not be written.
        Stopped: The run was told to stop, and can be resumed.
    """

    file_backend: BaseStorageBackend
    backend_args: dict | None

    def __init__(self, *args: Any, max_failures: int = 3, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.max_failures = max_failures
        self.failures = 0
        self.keep_ckpt_ids: deque = deque()
        self._stop = StopRequest()
        self._postponed: list[tuple[int, dict]] | None = None  # saves after a best checkpoint's
        self._saved_iter: int | None = None
        self._place: dict | None = None  # of the checkpoint
        self._gradients: list | None = None

    def before_train(self, runner: Runner) -> None:
        """Find where checkpoints belong, go to the place of the one resumed from, and listen."""
        folder = self.out_dir or runner.work_dir
        backend = get_file_backend(folder)
        own = self.backend_args is None and self.file_client_args is None
        if own and isinstance(backend, LocalBackend):
            self.backend_args = dict(backend='atomic')
        if folder != runner.work_dir:
            folder = backend.join_path(folder, os.path.basename(runner.work_dir.rstrip(os.sep)))
        info = runner.message_hub.runtime_info
        # In this folder and in no other, as what a checkpoint names is removed in time.
        for key in [key for key in info if key.startswith('best_ckpt')]:
            moved = backend.join_path(folder, os.path.basename(info[key]))
            runner.message_hub.update_info(key, moved)
        super().before_train(runner)
        if runner.iter > 0:
            self._go_to_place(runner)
        self._stop.listen()

    def after_train(self, runner: Runner) -> None:
        """Publish the checkpoint if the config says so."""
        self._stop.close()
        super().after_train(runner)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Save if it is due, or if the run was told to stop."""
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        ends_epoch = self.by_epoch and self.end_of_epoch(runner.train_dataloader, batch_idx)
        if not self._stop.agreed() or ends_epoch or self.is_last_train_iter(runner):
            return
        iteration = runner.iter + 1
        if self._saved_iter != iteration:
            self._write_stopgap(runner, iteration)
        self._end(runner, iteration)

    def after_train_epoch(self, runner: Runner) -> None:
        """Save if it is due, or if the run was told to stop."""
        super().after_train_epoch(runner)
        if not self.by_epoch or not self._stop.decided or self.is_last_train_epoch(runner):
            return
        if self._saved_iter != runner.iter:
            self._save_checkpoint(runner)
        self._end(runner, runner.iter)

    def on_bad_data(self, runner: Runner) -> None:
        """Save before bad data end the run, if no other process has gone on."""
        if get_world_size() == 1 and runner.iter > 0 and self._saved_iter != runner.iter:
            self._write_stopgap(runner, runner.iter)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the place in the data, and accumulated gradients."""
        if isinstance(runner.train_loop, Resumable):
            checkpoint['meta']['place'] = describe(runner)
        gradients = [parameter.grad for parameter in runner.model.parameters()]
        if 'optimizer' in checkpoint and any(gradient is not None for gradient in gradients):
            own = [None if gradient is None else gradient.cpu() for gradient in gradients]
            checkpoint['gradients'] = all_gather_object(own)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Fit what is to be resumed to this run's processes and batches."""
        # The hook is called for weights to start from, too, which have no place in this training.
        resumes = runner._resume and isinstance(runner.train_loop, Resumable)
        if not resumes or 'place' not in checkpoint.get('meta', {}):
            return
        refit(checkpoint, runner)
        self._place, self._gradients = checkpoint['meta']['place'], checkpoint.get('gradients')

    def _go_to_place(self, runner: Runner) -> None:
        loop, place, gradients = runner.train_loop, self._place, self._gradients
        self._place = self._gradients = None
        if not isinstance(loop, Resumable):
            return
        if place is not None:
            loop.start_at([Stretch(**stretch) for stretch in place['stretches']])
        elif not isinstance(loop, EpochBasedTrainLoop):
            # mmengine's own checkpoints come with a batch per iteration.
            loop.start_at([replace(loop.stretches[-1], batches=runner.iter)])
        if gradients and len(gradients) == get_world_size():
            own = gradients[get_rank()]
            for parameter, gradient in zip(runner.model.parameters(), own, strict=True):
                parameter.grad = None if gradient is None else gradient.to(parameter.device)

    def _end(self, runner: Runner, iteration: int) -> None:
        self._stop.close()
        runner.logger.info(
            f'stopped as told after iteration {iteration}; --resume goes on from '
            f'{self.last_ckpt or "the beginning"}'
        )
        raise Stopped

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        """Save a checkpoint that is due."""
        if self._postponed is not None:
            self._postponed.append((step, meta))
            return
        self._write(runner, self.filename_tmpl.format(step), meta, step)

    def _write_stopgap(self, runner: Runner, iteration: int) -> None:
        """Write a checkpoint that is not due; the next one replaces it."""
        name = f'iter_{iteration}.pth' if self.by_epoch else self.filename_tmpl.format(iteration)
        self._write(runner, name, dict(epoch=runner.epoch, iter=iteration), stopgap=True)

    def _write(
        self, runner: Runner, name: str, meta: dict, step: int | None = None, stopgap: bool = False
    ) -> None:
        """Write a checkpoint, then remove what it replaces."""
        hub, kept = runner.message_hub, list(self.keep_ckpt_ids)
        info = hub.runtime_info
        before = dict(info)
        replaced = [os.path.basename(info.pop('stopgap'))] if 'stopgap' in info else []
        if stopgap:
            hub.update_info('stopgap', name)
        if step is not None and self.max_keep_ckpts > 0:
            kept = [*(kept[:-1] if kept[-1:] == [step] else kept), step]
            replaced += [self.filename_tmpl.format(i) for i in kept[: -self.max_keep_ckpts]]
            kept = kept[-self.max_keep_ckpts :]
            hub.update_info('keep_ckpt_ids', kept)
        path = self.file_backend.join_path(self.out_dir, name)
        hub.update_info('last_ckpt', path)
        iteration = meta['iter']

        def write() -> None:
            runner.save_checkpoint(
                self.out_dir,
                name,
                self.file_client_args,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                meta=meta,
                by_epoch=self.by_epoch,
                backend_args=self.backend_args,
                **self.args,
            )
            if is_main_process():
                local = isinstance(self.file_backend, LocalBackend)
                record = os.path.relpath(path, runner.work_dir) if local else path
                files.AtomicBackend().put_text(
                    record, os.path.join(runner.work_dir, 'last_checkpoint')
                )

        if not self._succeeds(runner, name, write):
            info.clear()
            info.update(before)
            return
        self.last_ckpt, self._saved_iter = path, iteration
        self.keep_ckpt_ids = deque(kept, self.max_keep_ckpts if self.max_keep_ckpts > 0 else None)
        if is_main_process():
            for old in replaced:
                _remove(
                    self.file_backend,
                    self.file_backend.join_path(self.out_dir, os.path.basename(old)),
                )

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        """Save the best checkpoint, then remove the one before it."""
        if not self.save_best:
            return
        info = runner.message_hub.runtime_info
        before, paths = dict(info), self._best_paths()
        backend = self.file_backend
        self.file_backend = _RemovesLater(backend)
        self._postponed = []
        try:
            written = self._succeeds(
                runner,
                'the best checkpoint',
                lambda: CheckpointHook._save_best_checkpoint(self, runner, metrics),
            )
        finally:
            later, self.file_backend = self.file_backend, backend
            postponed, self._postponed = self._postponed, None
        if not written:
            info.clear()
            info.update(before)
            self.__dict__.update(paths)
            return
        for path in later.removed:
            if path not in self._best_paths().values():
                _remove(backend, path)
        for step, meta in postponed:
            self._save_checkpoint_with_step(runner, step, meta)

    def _best_paths(self) -> dict[str, Any]:
        names = ('best_ckpt_path', 'best_ckpt_path_dict')
        found = {name: getattr(self, name) for name in names if hasattr(self, name)}
        return {key: dict(v) if isinstance(v, dict) else v for key, v in found.items()}

    def _succeeds(self, runner: Runner, name: str, write: Callable[[], object]) -> bool:
        """Return whether something could be written; warn if not."""
        error = None
        try:
            write()
        except OSError as caught:
            error = f'{type(caught).__name__}: {caught}'
        error = next((other for other in all_gather_object(error) if other), None)
        if error is None:
            self.failures = 0
            return True
        self.failures += 1
        told = f'{name} cannot be written to {self.out_dir} ({error})'
        if self.failures > self.max_failures:
            raise UserError(
                f'{told}, which failed {self.failures} times in a row: make room, then resume from '
                f'{self.last_ckpt or "the beginning"}'
            )
        last = f'with {self.last_ckpt} as the last one' if self.last_ckpt else 'without any so far'
        runner.logger.warning(f'{told}; training goes on, {last}')
        return False


class _RemovesLater:
    """A file backend that only notes what is to be removed.

    Args:
        backend: The one that does all the rest.
    """

    def __init__(self, backend: BaseStorageBackend) -> None:
        self._backend = backend
        self.removed: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def remove(self, path: str) -> None:
        self.removed.append(path)

    rmtree = remove


def _remove(backend: BaseStorageBackend, path: str) -> None:
    if backend.isfile(path):
        backend.remove(path)
    elif backend.isdir(path):  # of DeepSpeed
        backend.rmtree(path)
