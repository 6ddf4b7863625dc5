"""The operators in torch's compiler, exporter and FLOP counter."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

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


def graph_and_gradients(backend: str) -> list[torch.Tensor]:
    """Return each operator's result and gradients."""
    found = []
    for memory_format in FORMATS:
        for operator, arguments in calls(memory_format, backend):
            out = operator(*arguments)
            leaves = [t for t in arguments if isinstance(t, torch.Tensor) and t.requires_grad]
            found += [out, *torch.autograd.grad(out, leaves, torch.ones_like(out))]
    return found


@pytest.mark.skipif(os.environ.get('TRITON_INTERPRET') == '1', reason='Triton runs everywhere')
def test_torch_computes_what_triton_cannot(monkeypatch):
    """On the CPU, no kernel of Triton can be launched, with a GPU in the machine or without one."""
    monkeypatch.setattr(library, '_failed', set())
    with pytest.warns(UserWarning, match="Triton .* cannot run .*backend='torch'") as told:
        results = graph_and_gradients(library.AUTOMATIC)
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        graph_and_gradients(library.AUTOMATIC)
    for result, expected in zip(results, graph_and_gradients('cpu'), strict=True):
        assert result.stride() == expected.stride()
        torch.testing.assert_close(result, expected)
    for operator, arguments in calls(torch.channels_last, 'triton'):
        with pytest.raises(Exception, match=r'active drivers|accessed from Triton|No module'):
            operator(*arguments)


BROKEN = """
import torch
from mmdwnet.ops import library
x, weight = torch.ones(1, 2, 3, 3), torch.ones(1, 2, 3, 3)
print(library.homogeneous(x, weight, None, False, library.AUTOMATIC)[0, 0, 1, 1].item())
library.homogeneous(x, weight, None, False, 'triton')
"""


def test_torch_computes_where_triton_is_broken(tmp_path):
    (tmp_path / 'triton.py').write_text("raise ImportError('broken installation')\n")
    root = str(Path(__file__).parents[2])
    environment = os.environ | {'PYTHONPATH': os.pathsep.join([str(tmp_path), root])}
    done = subprocess.run(
        [sys.executable, '-c', BROKEN], env=environment, capture_output=True, text=True
    )
    assert done.stdout == '9.0\n', done.stderr
    assert done.stderr.count('cannot run depthwise_conv2d') == 1, done.stderr
    assert done.stderr.endswith('ImportError: broken installation\n')
