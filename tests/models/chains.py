"""Chains with norms of several kinds; as a script, trains one in each of two processes."""

import copy
import sys
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed, nn
from torch.distributed.nn.functional import all_reduce

from mmdwnet.models.recompute import chain, checkpointed


class SharedNorm(nn.Module):
    """A BN with the statistics of all processes; torch's SyncBatchNorm refuses to run on the CPU.

    It updates its buffers as mmcv's MMSyncBN does, and counts its forward passes.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-1, 1, channels))
        self.bias = nn.Parameter(torch.randn(channels))
        self.register_buffer('running_mean', torch.zeros(channels))
        self.register_buffer('num_batches_tracked', torch.tensor(0))
        self.passes = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.passes += 1
        sums = [x.sum((0, 2, 3)), x.square().sum((0, 2, 3)), x.new_tensor([x[:, 0].numel()])]
        sums = torch.cat(sums)
        sums = all_reduce(sums) if distributed.is_initialized() else sums
        mean, square = (sums[:-1] / sums[-1]).chunk(2)
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean.detach(), 0.1)
        scale = self.weight * (square - mean.square() + 1e-5).rsqrt()
        return (x - mean[:, None, None]) * scale[:, None, None] + self.bias[:, None, None]


class Chain(nn.Sequential):
    """A norm, an activation that works in place, and a convolution, recomputed in some way."""

    def __init__(self, norm: nn.Module, with_cp: bool | str) -> None:
        super().__init__(norm, nn.ReLU(inplace=True), nn.Conv2d(4, 3, 3))
        self.with_cp = with_cp

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.with_cp is True:
            return checkpointed(nn.Sequential(*self), x)
        *cheap, costly = self
        return chain(cheap, costly, x, recompute=self.with_cp == 'selective')


def main(folder: Path) -> None:
    """One of two processes that train with the statistics of both, on batches of two sizes."""
    distributed.init_process_group('gloo', timeout=timedelta(seconds=60))
    rank = distributed.get_rank()
    torch.manual_seed(rank)
    x = torch.randn(1 + rank, 4, 6, 5).contiguous(memory_format=torch.channels_last)
    x[:, 3] = rank  # a channel that is constant in each process
    torch.manual_seed(2)
    stored = Chain(SharedNorm(4), with_cp=False)
    recomputed = copy.deepcopy(stored)
    recomputed.with_cp = 'selective'
    for network in (stored, recomputed):
        network(x.clone().requires_grad_()).square().sum().backward()
    passes, grads = (
        recomputed[0].passes,
        [[p.grad.clone() for p in n.parameters()] for n in (stored, recomputed)],
    )
    recomputed[0].requires_grad_(False)
    out = recomputed(x).sum()
    if rank == 0:  # the other process takes no part, so whoever asks it for anything waits in vain
        out.backward()
    torch.save(
        [passes, grads, stored.state_dict(), recomputed.state_dict()], folder / f'{rank}.pth'
    )
    distributed.barrier()
    distributed.destroy_process_group()


if __name__ == '__main__':
    main(Path(sys.argv[1]))
