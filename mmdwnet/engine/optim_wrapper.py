"""Parameter updates in any precision, which skip batches that are not finite."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.dist import all_reduce
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.nn.utils import clip_grad_norm_
from torch.optim import Adam, AdamW

from mmdwnet.errors import UserError

from .precision import training_dtype


@OPTIM_WRAPPERS.register_module()
class GuardedOptimWrapper(OptimWrapper):
    """Train in mixed precision or none; drop batches whose loss or gradients are not finite.

    A dropped batch leaves no trace in the model: no step is taken, and the buffers, such as BN
    statistics, are restored. With gradient accumulation, all that was accumulated is dropped. All
    processes of a distributed run decide alike. Steps that overflow because of float16's loss scale
    count as dropped and lower the scale as usual.

    The log shows the gradient norm and the number of dropped batches, with a warning for each.

    What is dropped is decided on the device, by fused Adam and AdamW (`fused=True`) without the
    host waiting for it. Other optimizers take no such decision, so the host asks the device before
    each step. It also asks after each step what to report, except with `GuardedLoggerHook`.

    Source: the authors' classification loop, which skips such batches, as float16 needs it. The
    buffers are our addition: an infinite activation would ruin BN statistics for good.

    Attributes:
        dropped: The number of dropped batches, as of the last report.
        dropped_in_a_row: How many of them were the last ones.
        deferred: Whether `report` is called from outside; otherwise each step calls it.

    Args:
        dtype: What convolutions and matrix products are computed in: 'float32', 'bfloat16',
            'float16' (with a dynamic loss scale), or 'auto', which is bfloat16 on GPUs that have
            it, float16 on others and float32 on the CPU. Defaults to 'float32'.
        max_dropped_in_a_row: How many batches may be dropped in a row; the next one ends the run.
            Defaults to 20: float16's loss scale starts at 2**16, from which 16 drops halve it to 1.
        **kwargs: As for mmengine's `OptimWrapper`: `optimizer`, `accumulative_counts`, `clip_grad`.

    Raises:
        UserError: The device of the optimizer's parameters cannot train in `dtype`.
    """

    def __init__(
        self, dtype: str = 'float32', max_dropped_in_a_row: int = 20, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        device = self.optimizer.param_groups[0]['params'][0].device
        self.dtype = training_dtype(dtype, device.type)
        print_log(f'{type(self).__name__} trains in {self.dtype}', logger='current')
        # Disabled, it passes everything through.
        self.loss_scaler = GradScaler(device.type, enabled=self.dtype == torch.float16)
        self.max_dropped_in_a_row = max_dropped_in_a_row
        self.dropped = 0
        self.dropped_in_a_row = 0
        self.deferred = False
        # By iteration, since the last report: whether loss and gradients were bad, and their norm.
        self._outcomes: list[tuple[int, Tensor]] = []
        # Since the last update: the sum of the losses, and the buffers with copies from then.
        self._loss = torch.zeros((), device=device)
        self._buffers: list[tuple[Tensor, Tensor]] | None = None

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Enter the precision in which the loss of `model` is computed."""
        if self._buffers is None:
            self._buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
        autocast = torch.autocast(
            self._loss.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32
        )
        with super().optim_context(model), autocast:
            yield

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        """Accumulate the gradients of a scalar loss; `kwargs` go to `Tensor.backward`."""
        self._loss = self._loss + loss.detach()
        super().backward(self.loss_scaler.scale(loss), **kwargs)

    def step(self, **kwargs: Any) -> None:
        """Update the parameters, or drop the batch; `kwargs` go to the optimizer's `step`.

        Raises:
            UserError: As for `report`, unless reports are deferred.
        """
        self.loss_scaler.unscale_(self.optimizer)
        norm = self._clip_grad()
        bad = (~torch.stack([self._loss, norm.to(self._loss)]).isfinite()).float()
        # Gradients are the same in all processes, losses are not.
        all_reduce(bad, 'max')
        drop = bad.any()
        if self._decides():
            self.optimizer.found_inf = drop.float()  # type: ignore[attr-defined]
            self.optimizer.step(**kwargs)
            del self.optimizer.found_inf  # type: ignore[attr-defined]
        elif not drop:
            self.optimizer.step(**kwargs)
        self.loss_scaler.update()
        for buffer, before in self._buffers or ():
            torch.where(drop.to(buffer.device), before, buffer, out=buffer)
        self._loss = torch.zeros_like(self._loss)
        self._buffers = None
        self._outcomes.append((self.inner_count, torch.cat([bad, norm.to(bad).view(1)])))
        if not self.deferred:
            self.report()

    def report(self) -> None:
        """Log what became of the batches since the last report, for which the host waits.

        Raises:
            UserError: More batches were dropped in a row than are allowed.
        """
        outcomes, self._outcomes = self._outcomes, []
        if not outcomes:
            return
        iterations, values = zip(*outcomes, strict=True)
        for iteration, (bad_loss, bad_gradients, norm) in zip(
            iterations, torch.stack(values).tolist(), strict=True
        ):
            if bad_loss or bad_gradients:
                self._count_drop(iteration, 'loss is' if bad_loss else 'gradients are')
            else:
                self.dropped_in_a_row = 0
                self.message_hub.update_scalar('train/grad_norm', norm)
            self.message_hub.update_scalar('train/dropped', self.dropped)

    def state_dict(self) -> dict:
        """Report; return the optimizer's state with `dropped` and, for float16, `loss_scaler`."""
        self.report()
        state: dict = super().state_dict()
        state['dropped'] = dict(total=self.dropped, in_a_row=self.dropped_in_a_row)
        if self.loss_scaler.is_enabled():
            state['loss_scaler'] = self.loss_scaler.state_dict()
        return state

    def load_state_dict(self, state_dict: dict) -> None:
        """Load a state of this wrapper or of one of mmengine's."""
        state = dict(state_dict)
        dropped = state.pop('dropped', dict(total=0, in_a_row=0))
        self.dropped, self.dropped_in_a_row = dropped['total'], dropped['in_a_row']
        if 'loss_scaler' in state:
            self.loss_scaler.load_state_dict(state.pop('loss_scaler'))
        super().load_state_dict(state)

    def _clip_grad(self) -> Tensor:
        """Clip the gradients if configured; return their norm before clipping."""
        parameters = [
            parameter
            for group in self.optimizer.param_groups
            for parameter in group['params']
            if parameter.grad is not None
        ]
        if self.clip_grad_kwargs and self.clip_func is clip_grad_norm_:
            return clip_grad_norm_(parameters, **self.clip_grad_kwargs)
        norm = clip_grad_norm_(parameters, math.inf)  # which clips nothing
        if self.clip_grad_kwargs:
            self.clip_func(parameters, **self.clip_grad_kwargs)
        return norm

    def _decides(self) -> bool:
        """Return whether the optimizer takes the decision on the device.

        That may change when a state is loaded. SGD does not: its fused steps begin with
        uninitialized momentum if the first one is dropped.
        """
        return type(self.optimizer) in (Adam, AdamW) and all(
            group['fused'] for group in self.optimizer.param_groups
        )

    def _count_drop(self, iteration: int, what: str) -> None:
        """Count a dropped batch, and warn of it."""
        self.dropped += 1
        self.dropped_in_a_row += 1
        print_log(
            f'dropped the batch of iteration {iteration}: its {what} not finite '
            f'({self.dropped} dropped so far, {self.dropped_in_a_row} in a row)',
            logger='current',
            level=logging.WARNING,
        )
        if self.dropped_in_a_row > self.max_dropped_in_a_row:
            raise UserError(
                f'{self.dropped_in_a_row} batches in a row were dropped, the last in iteration '
                f'{iteration}, as their loss or gradients were not finite: lower '
                'optim_wrapper.optimizer.lr, train with optim_wrapper.dtype=bfloat16 or float32, '
                'or look for the operation at fault with torch.autograd.set_detect_anomaly(True)'
            )
