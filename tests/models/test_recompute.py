"""Recomputation of cheap layers does not change derivatives of any order."""

import pytest
import torch
from torch import nn

from mmdwnet.models.recompute import chain


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
