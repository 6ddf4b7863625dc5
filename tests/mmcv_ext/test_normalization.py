"""mmcv's synchronized batch normalization, against torch's."""

from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
from torch import nn

from .stand_in import mmcv, needs_stand_in, random

pytestmark = needs_stand_in


@pytest.fixture
def process_group() -> Iterator[None]:
    """A group of this process alone, which mmcv's layer needs."""
    dist.init_process_group('gloo', store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures('process_group')
@pytest.mark.parametrize('mode', ['default', 'N'])
@pytest.mark.parametrize('size', [(4, 3, 5, 6), (4, 3, 5)])
def test_sync_batch_norm(mode: str, size: tuple[int, ...]) -> None:
    ours = mmcv.ops.SyncBatchNorm(3, stats_mode=mode)
    theirs = nn.BatchNorm2d(3) if len(size) == 4 else nn.BatchNorm1d(3)
    theirs.load_state_dict(ours.state_dict())
    x, weight = random(*size, seed=0).float() * 3 + 1, random(*size, seed=1).float()
    found = []
    for layer in (ours, theirs):
        leaf = x.clone().requires_grad_()
        output = layer(leaf)
        output.backward(weight)
        gradients = [leaf.grad, layer.weight.grad, layer.bias.grad]
        found.append([output, *gradients, layer.running_mean, layer.running_var])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures('process_group')
def test_sync_batch_norm_of_no_regions_changes_nothing() -> None:
    layer = mmcv.ops.SyncBatchNorm(3, stats_mode='N')
    x = torch.zeros(0, 3, 7, 7, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad.shape == x.shape
    assert torch.equal(layer.running_mean, torch.zeros(3))
    assert torch.equal(layer.running_var, torch.ones(3))


def test_sync_batch_norm_counts_the_samples_of_all_processes() -> None:
    x = random(4, 3, 5, seed=2).float()
    both = nn.BatchNorm1d(3)
    expected = both(torch.cat([x, x]))[:4]
    mean, var = x.mean(dim=(0, 2)), x.var(dim=(0, 2), correction=0)
    running = [torch.zeros(3), torch.ones(3)]
    std, norm, output = torch.zeros(3), torch.zeros(4, 3, 5), torch.zeros(4, 3, 5)
    parameters = (both.weight.detach(), both.bias.detach())
    mmcv._ext.sync_bn_forward_output(
        x, mean, var, *parameters, *running, norm, std, output,
        eps=1e-5, momentum=0.1, group_size=2,
    )  # fmt: skip
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(running, [both.running_mean, both.running_var])
