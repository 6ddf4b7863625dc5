"""Trains a small model on batches that can go wrong, in this process or in two."""

import sys
from pathlib import Path

import torch
from mmengine.model import BaseModel, MMDistributedDataParallel
from mmengine.optim import build_optim_wrapper
from torch import Tensor, distributed, nn
from torch.utils._python_dispatch import TorchDispatchMode

from mmdwnet.engine import GuardedOptimWrapper
from mmdwnet.errors import UserError

NAN, INF = float('nan'), float('inf')
# What goes wrong in a batch: where, and with which value.
HARMS = [(place, value) for place in ('input', 'loss', 'gradient') for value in (NAN, INF)]


class HarmGradient(torch.autograd.Function):
    """The identity, but for its gradient."""

    @staticmethod
    def forward(ctx, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.clone()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.factor, None


class Net(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm = nn.BatchNorm1d(4)
        self.linear = nn.Linear(4, 2)

    def forward(self, inputs: Tensor, harm: tuple[str, float] | None, mode: str) -> dict:
        place, value = harm or (None, 0.0)
        if place == 'input':
            inputs = inputs * value
        out = self.linear(self.norm(inputs))
        if place == 'gradient':
            out = HarmGradient.apply(out, value)
        loss = out.float().square().mean()
        if place == 'loss':
            loss = loss + value  # whose gradients are finite
        return dict(loss=loss)


class Reads(TorchDispatchMode):
    """Counts how often the host reads a value from the device."""

    count = 0

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        self.count += operator is torch.ops.aten._local_scalar_dense.default
        return operator(*args, **(kwargs or {}))


def batches(count: int, harmed: dict[int, tuple[str, float]] | None = None) -> list[dict]:
    """Random batches, another sequence in each process."""
    rank = distributed.get_rank() if distributed.is_initialized() else 0
    generator = torch.Generator().manual_seed(rank)
    return [
        dict(inputs=torch.randn(8, 4, generator=generator), harm=(harmed or {}).get(i))
        for i in range(count)
    ]


FUSED = dict(type='AdamW', lr=0.1, fused=True)  # which decides on the device what to drop


def optim_wrapper(model: nn.Module, **options) -> GuardedOptimWrapper:
    config = dict(type='GuardedOptimWrapper', optimizer=FUSED) | options
    return build_optim_wrapper(model, config)


def train(
    data: list[dict], deferred: bool = False, **options
) -> tuple[nn.Module, GuardedOptimWrapper]:
    """Trains a fresh model, distributed where the processes are."""
    net = Net()
    wrapper = optim_wrapper(net, **options)
    wrapper.deferred = deferred
    model = net
    if distributed.is_initialized():
        model = MMDistributedDataParallel(net, broadcast_buffers=False)
    wrapper.initialize_count_status(model, 0, len(data))
    with Reads() as reads:
        for batch in data:
            model.train_step(batch, wrapper)
    assert not deferred or reads.count == 0
    return net, wrapper


def state(model: nn.Module, wrapper: GuardedOptimWrapper) -> dict:
    """All that training changes, as one flat dict of tensors."""
    moments = {
        f'{index}.{key}': value
        for index, moment in wrapper.optimizer.state_dict()['state'].items()
        for key, value in moment.items()
    }
    return {**{key: value.clone() for key, value in model.state_dict().items()}, **moments}


def main(folder: Path) -> None:
    """One of two processes: what comes of it when only the second one gets bad batches."""
    distributed.init_process_group('gloo')
    rank = distributed.get_rank()
    results = {}
    for counts in (1, 2):
        for harm in HARMS:
            # The fourth batch goes wrong: with accumulation, the third goes with it.
            data = batches(6, {3: harm} if rank == 1 else None)
            kept = [batch for i, batch in enumerate(data) if i // counts != 3 // counts]
            options = dict(accumulative_counts=counts, clip_grad=dict(max_norm=1.0))
            harmed = train(data, **options)
            train(data, deferred=True, **options)
            results[f'{harm} in {counts}'] = dict(
                harmed=state(*harmed), clean=state(*train(kept, **options)), drops=harmed[1].dropped
            )
    try:
        train(
            batches(9, dict.fromkeys(range(2, 9), HARMS[0]) if rank == 1 else None),
            max_dropped_in_a_row=3,
        )
    except UserError as error:
        results['end'] = str(error)
    torch.save(results, folder / f'{rank}.pth')
    distributed.destroy_process_group()


if __name__ == '__main__':
    main(Path(sys.argv[1]))
