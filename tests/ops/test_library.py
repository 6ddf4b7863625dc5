"""The operators in torch's compiler, exporter and FLOP counter."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mmdwnet.ops import library

from . import reference
from .reference import OPERATORS, random

FORMATS = (torch.contiguous_format, torch.channels_last)


def calls(memory_format: torch.memory_format, backend: str = 'cpu') -> list[tuple]:
    """Return each operator with arguments that have gradients."""
    x, grad = (
        random(2, 4, 5, 3, seed=seed).float().contiguous(memory_format=memory_format)
        for seed in (0, 1)
    )
    shared, own = random(1, 4, 3, 3, seed=2).float(), random(2, 4, 3, 3, seed=3).float()
    predicted = random(2, 2 * 9, 5, 3, seed=4).float().contiguous(memory_format=memory_format)
    weight, bias = predicted.view(2, 2, 3, 3, 5, 3), random(4, seed=5).float()
    for tensor in (x, grad, shared, own, weight, bias):
        tensor.requires_grad_()
    return [
        (library.homogeneous, (x, shared, bias, False, backend)),
        (library.homogeneous, (x, own, None, False, backend)),
        (library.homogeneous_weight_grad, (grad, x, 3, True, backend)),
        (library.homogeneous_weight_grad, (grad, x, 3, False, backend)),
        (library.inhomogeneous, (x, weight, bias, None, False, backend)),
        (library.inhomogeneous_input_grad, (grad, weight, backend)),
        (library.inhomogeneous_weight_grad, (grad, x, weight.detach(), backend)),
    ]


@pytest.mark.parametrize('memory_format', FORMATS)
def test_operators_are_what_they_declare(memory_format):
    for operator, arguments in calls(memory_format):
        torch.library.opcheck(operator, arguments)


@pytest.mark.usefixtures('compiler')
@pytest.mark.parametrize('name', OPERATORS)
def test_compiler_and_exporter_see_one_node(name):
    *tensors, _ = (t.float() for t in reference.inputs(name, n=2, c=4, groups=2, h=5, w=6, k=3))

    class Model(torch.nn.Module):
        def forward(self, *inputs):
            return OPERATORS[name](*inputs)

    graph = torch.export.export(Model(), tuple(tensors)).graph
    ours = [node for node in graph.nodes if 'mmdwnet' in str(node.target)]
    assert len(ours) == 1
    compiled = torch.compile(Model(), fullgraph=True, backend='aot_eager', dynamic=True)
    torch.testing.assert_close(compiled(*tensors), OPERATORS[name](*tensors))


@pytest.mark.parametrize('name', OPERATORS)
def test_flops(name):
    *leaves, grad = (t.float() for t in reference.inputs(name, n=2, c=4, groups=2, h=5, w=6, k=3))
    for leaf in leaves:
        leaf.requires_grad_()
    once = 2 * 2 * 4 * 5 * 6 * 9
    with FlopCounterMode(display=False) as forward:
        out = OPERATORS[name](*leaves)
    assert forward.get_total_flops() == once
    with FlopCounterMode(display=False) as backward:
        out.backward(grad)
    assert backward.get_total_flops() == 2 * once
