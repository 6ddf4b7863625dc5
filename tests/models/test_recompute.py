"""Recomputation changes nothing: no derivative of any order, no statistics, compiled or not."""

import copy

import pytest
import torch
from benchmarking.timing import saved_bytes
from torch import nn

from mmdwnet.models.recompute import chain

from . import chains
from .chains import Chain, SharedNorm
from .nano import images, nano, total

NORMS = {
    'BN': lambda: nn.BatchNorm2d(4),
    'IN': lambda: nn.InstanceNorm2d(4, affine=True, track_running_stats=True),
    'GN': lambda: nn.GroupNorm(2, 4),
    'a norm of a user': lambda: SharedNorm(4),
}


@pytest.fixture
def parts() -> tuple[nn.Module, ...]:
    torch.manual_seed(0)
    return nn.BatchNorm2d(4), nn.Softplus(), nn.Conv2d(4, 3, 3)


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(2, 4, 6, 5, dtype=torch.float64, requires_grad=True)


def run(parts: tuple[nn.Module, ...], x: torch.Tensor, recompute: bool) -> torch.Tensor:
    *cheap, costly = (part.double() for part in parts)
    return chain(cheap, costly, x * 1, recompute).square().sum()


def test_second_derivatives(parts, x):
    found = []
    for recompute in (False, True):
        inputs = [x, *(p for part in parts for p in part.parameters())]
        first = torch.autograd.grad(run(parts, x, recompute), inputs, create_graph=True)
        found.append(torch.autograd.grad(sum(g.square().sum() for g in first), inputs))
    for stored, recomputed in zip(*found, strict=True):
        torch.testing.assert_close(stored, recomputed)


def test_two_backward_passes_through_one_graph(parts, x):
    loss = run(parts, x, recompute=True)
    (first,) = torch.autograd.grad(loss, x, retain_graph=True)
    (second,) = torch.autograd.grad(loss, x)
    assert torch.equal(first, second)
    assert parts[0].num_batches_tracked == 1


def test_result_is_computed_once_for_all_who_saved_it(x):
    calls = []
    relu = nn.ReLU(inplace=True)  # saves its result, like the next layer
    relu.register_forward_hook(lambda *_: calls.append(1))
    out = chain((nn.BatchNorm2d(4).double(), relu), nn.Conv2d(4, 3, 3).double(), x, True)
    out.sum().backward()
    assert len(calls) == 2


@pytest.mark.parametrize('with_cp', [True, 'selective'])
@pytest.mark.parametrize('norm', NORMS)
def test_every_norm_counts_a_batch_once(x, norm, with_cp):
    stored = Chain(NORMS[norm](), with_cp=False).double()
    recomputed = copy.deepcopy(stored)
    recomputed.with_cp = with_cp
    for network in (stored, recomputed):
        for _ in range(2):
            network(x * 1).square().sum().backward()
    torch.testing.assert_close(stored.state_dict(), recomputed.state_dict(), rtol=0, atol=0)
    for a, b in zip(stored.parameters(), recomputed.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_images_of_an_empty_batch(x):
    # All empty tensors have one address: the pooling's indices are none of the activation's result.
    out, indices = nn.MaxPool2d(2, return_indices=True)(x[:0])
    assert not out.numel() and indices.dtype == torch.int64
    chain((nn.Softplus(),), nn.MaxPool2d(2), x[:0] * 1, recompute=True).sum().backward()
    assert not x.grad.any()


def assert_compiles_alike(
    stored: nn.Module, recomputed: nn.Module, x: torch.Tensor, backend: str
) -> nn.Module:
    """Train two steps, plainly and compiled with recomputation; return the compiled network."""
    compiled = torch.compile(recomputed, fullgraph=True, backend=backend)
    for step in range(2):
        outs = []
        with torch.compiler.set_stance('fail_on_recompile' if step else 'default'):
            for network in (stored, compiled):
                torch.manual_seed(step)
                outs.append(total(network(x + step)))
                outs[-1].backward()
        torch.testing.assert_close(*outs)
    for (key, a), b in zip(stored.named_parameters(), recomputed.parameters(), strict=True):
        torch.testing.assert_close(
            a.grad, b.grad, rtol=1e-3, atol=1e-4, msg=lambda text, key=key: f'{key}: {text}'
        )
    torch.testing.assert_close(stored.state_dict(), recomputed.state_dict(), rtol=1e-4, atol=1e-5)
    return compiled


@pytest.mark.usefixtures('compiler')
@pytest.mark.parametrize('with_cp', [True, 'selective'])
def test_a_norm_that_cannot_be_compiled_counts_a_batch_once(with_cp):
    stored = Chain(NORMS['a norm of a user'](), with_cp=False)
    recomputed = copy.deepcopy(stored)
    recomputed.with_cp = with_cp
    x = torch.randn(2, 4, 6, 5, requires_grad=True)
    for network in (stored, torch.compile(recomputed, backend='aot_eager')):
        network(x).square().sum().backward()
    torch.testing.assert_close(stored.state_dict(), recomputed.state_dict())
    for a, b in zip(stored.parameters(), recomputed.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.usefixtures('compiler')
@pytest.mark.parametrize('with_cp', [True, 'selective'])
@pytest.mark.parametrize('norm', ['IN', 'GN'])  # BN is compiled below
def test_other_norms_compile(norm, with_cp):
    stored = Chain(NORMS[norm](), with_cp=False)
    recomputed = copy.deepcopy(stored)
    recomputed.with_cp = with_cp
    x = torch.randn(2, 4, 6, 5, requires_grad=True)
    assert_compiles_alike(stored, recomputed, x, 'aot_eager')


@pytest.mark.usefixtures('compiler')
@pytest.mark.parametrize('with_cp', [True, 'selective'])
@pytest.mark.parametrize('kind', ['dynamic', 'swin_mlp'])
def test_compiled_networks_train_alike(kind, with_cp):
    stored = nano(kind, out_indices=0).train()
    recomputed = nano(kind, out_indices=0, with_cp=with_cp).train()
    compiled = assert_compiles_alike(stored, recomputed, images(), 'aot_eager')
    kept = (
        saved_bytes(lambda network=network: total(network(images())), network.parameters())
        for network in (compiled, stored)
    )
    assert next(kept) < 0.8 * next(kept)


@pytest.mark.usefixtures('cpp_compiler')
@pytest.mark.parametrize('with_cp', [pytest.param(True, marks=pytest.mark.slow), 'selective'])
def test_compiled_chains_train_alike(with_cp):
    stored = Chain(NORMS['BN'](), with_cp=False)
    recomputed = copy.deepcopy(stored)
    recomputed.with_cp = with_cp
    x = torch.randn(2, 4, 6, 5, requires_grad=True)
    assert_compiles_alike(stored, recomputed, x, 'inductor')


@pytest.mark.slow
def test_statistics_of_all_processes_are_asked_for_once(tmp_path, run_in_two_processes):
    run_in_two_processes(chains.__file__)
    for rank in range(2):
        passes, (stored, recomputed), *states = torch.load(tmp_path / f'{rank}.pth')
        assert passes == 1
        torch.testing.assert_close(stored, recomputed)
        assert [int(state['0.num_batches_tracked']) for state in states] == [1, 2]
