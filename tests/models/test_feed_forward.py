"""Products over the channels: what they compute, and by which of torch's kernels."""

from collections.abc import Iterator
from functools import partial

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from mmdwnet.models.feed_forward import PositionwiseConv2d, PositionwiseLinear

LAYERS = {'linear': PositionwiseLinear, 'convolution': partial(PositionwiseConv2d, kernel_size=1)}
needs_onednn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason='this torch came without oneDNN'
)


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def maps(n: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, 64, 14, 14, generator=generator).contiguous(
        memory_format=torch.channels_last
    )


@pytest.mark.usefixtures('threads')
@pytest.mark.parametrize('kind', LAYERS)
def test_results_are_those_of_a_convolution(kind):
    layer = LAYERS[kind](64, 96)
    convolution = nn.Conv2d(64, 96, 1)
    state = {
        key: value.view_as(convolution.state_dict()[key])
        for key, value in layer.state_dict().items()
    }
    convolution.load_state_dict(state)
    ours, theirs = layer(maps()), convolution(maps())
    torch.testing.assert_close(ours, theirs)
    assert ours.stride() == theirs.stride()
    for out in (ours, theirs):
        out.square().sum().backward()
    torch.testing.assert_close(
        layer.weight.grad.view_as(convolution.weight), convolution.weight.grad, rtol=1e-4, atol=1e-4
    )


def test_convolutions_keep_their_parameters():
    convolution = nn.Conv2d(64, 96, 1, bias=False)
    layer = PositionwiseConv2d(64, 96, 1, bias=False)
    layer.load_state_dict(convolution.state_dict())
    assert isinstance(layer, nn.Conv2d)  # what mmengine initializes and torch fuses as one


@needs_onednn
@pytest.mark.parametrize('kind', LAYERS)
def test_no_number_of_threads_leads_to_the_slow_convolution(kind, threads):
    layer = LAYERS[kind](64, 96)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        layer(maps()).sum().backward()
    names = {event.key for event in profiler.key_averages()}
    assert not any('slow_conv' in name or 'thnn' in name for name in names)
    assert ('aten::mkldnn_convolution' in names) == (threads > 1)


@pytest.mark.usefixtures('compiler', 'threads')
@pytest.mark.parametrize('kind', LAYERS)
def test_compiles(kind):
    layer = LAYERS[kind](64, 96)
    compiled = torch.compile(layer, fullgraph=True, backend='aot_eager')
    torch.testing.assert_close(compiled(maps()), layer(maps()))
