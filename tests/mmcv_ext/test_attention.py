"""Attention through mmcv's own functions, against its slow ones and plain float64 loops."""

import itertools

import pytest
import torch
from benchmarking.timing import peak_bytes
from torch import Tensor

from .stand_in import mmcv, needs_stand_in, random

pytestmark = needs_stand_in

FUNCTIONS = mmcv.ops.multi_scale_deform_attn
SHAPES = [(6, 4), (3, 2), (1, 1)]


def attention_inputs(
    shapes: list, n: int, queries: int, heads: int, channels: int, points: int
) -> list[Tensor]:
    """Return values, the maps' sizes and starts, locations (some of them outside) and weights."""
    areas = [h * w for h, w in shapes]
    points_of_query = (n, queries, heads, len(shapes), points)
    return [
        random(n, sum(areas), heads, channels, seed=0),
        torch.tensor(shapes),
        torch.tensor([0, *itertools.accumulate(areas[:-1])]),
        random(*points_of_query, 2, seed=1) * 0.5 + 0.5,
        random(*points_of_query, seed=2).flatten(3).softmax(-1).view(points_of_query),
    ]


def slow(value: Tensor, shapes: Tensor, starts: Tensor, *rest: Tensor) -> Tensor:
    return FUNCTIONS.multi_scale_deformable_attn_pytorch(value, shapes, *rest)


def attend(*inputs: Tensor) -> Tensor:
    """What mmcv calls on GPUs."""
    return FUNCTIONS.MultiScaleDeformableAttnFunction.apply(*inputs, 64)


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32])
def test_multi_scale_deformable_attention(dtype: torch.dtype) -> None:
    inputs = attention_inputs(SHAPES, n=3, queries=7, heads=2, channels=5, points=4)
    leaves = [inputs[i].to(dtype).requires_grad_() for i in (0, 3, 4)]
    inputs = [leaves[0], *inputs[1:3], *leaves[1:]]
    output, expected = attend(*inputs), slow(*inputs)
    assert output.shape == (3, 7, 10)
    tolerance = dict(rtol=1e-4, atol=1e-5) if dtype == torch.float32 else {}
    torch.testing.assert_close(output, expected, **tolerance)
    weight = random(*output.shape, seed=3).to(dtype)
    found = torch.autograd.grad(output, leaves, weight)
    for a, b in zip(found, torch.autograd.grad(expected, leaves, weight), strict=True):
        assert b.abs().sum() > 0
        torch.testing.assert_close(a, b, **tolerance)


def test_multi_scale_deformable_attention_gradcheck() -> None:
    inputs = attention_inputs(SHAPES[:2], n=2, queries=2, heads=2, channels=2, points=2)
    for i in (0, 3, 4):
        inputs[i].requires_grad_()
    torch.autograd.gradcheck(attend, inputs)


def test_multi_scale_deformable_attention_gives_the_layer_of_mmcv_its_result() -> None:
    """On the CPU, mmcv's layer takes the slow path: its parts are put together here."""
    torch.manual_seed(0)
    layer = mmcv.ops.MultiScaleDeformableAttention(
        embed_dims=8, num_heads=2, num_levels=3, dropout=0, batch_first=True
    )
    value, shapes, starts, *_ = attention_inputs(SHAPES, 2, 5, 1, 8, 4)
    query, value = random(2, 5, 8, seed=4).float(), value.flatten(2).float()
    reference = torch.rand(2, 5, 3, 2)
    expected = layer(
        query,
        value=value,
        reference_points=reference,
        spatial_shapes=shapes,
        level_start_index=starts,
    )
    offsets = layer.sampling_offsets(query).view(2, 5, 2, 3, 4, 2)
    weights = layer.attention_weights(query).view(2, 5, 2, 12).softmax(-1).view(2, 5, 2, 3, 4)
    locations = reference[:, :, None, :, None] + offsets / shapes.flip(1)[:, None]
    values = layer.value_proj(value).view(2, -1, 2, 4)
    output = query + layer.output_proj(attend(values, shapes, starts, locations, weights))
    torch.testing.assert_close(output, expected)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_multi_scale_deformable_attention_in_half_precision(dtype: torch.dtype) -> None:
    """As under autocast: mmcv converts locations and weights to the values' dtype."""
    inputs = attention_inputs(SHAPES, n=2, queries=7, heads=2, channels=5, points=4)
    half = [inputs[0].to(dtype).requires_grad_(), *inputs[1:]]
    single = [t.to(dtype).float() if t.is_floating_point() else t for t in inputs]
    single[0].requires_grad_()
    output, expected = attend(*half), attend(*single)
    assert output.dtype == dtype
    assert torch.equal(output, expected.to(dtype))
    output.sum().backward()
    expected.sum().backward()
    assert torch.equal(half[0].grad, single[0].grad.to(dtype))


@pytest.mark.parametrize(('n', 'queries'), [(0, 5), (2, 0)])
def test_multi_scale_deformable_attention_of_nothing(n: int, queries: int) -> None:
    inputs = attention_inputs(SHAPES, n, queries, heads=2, channels=5, points=4)
    inputs[0].requires_grad_()
    output = attend(*inputs)
    assert output.shape == (n, queries, 10)
    output.sum().backward()
    assert torch.equal(inputs[0].grad, torch.zeros_like(inputs[0]))


@pytest.mark.parametrize(
    'size', [(200, 334), pytest.param((800, 1333), marks=pytest.mark.slow)], ids=str
)
def test_multi_scale_deformable_attention_needs_little_memory(size: tuple[int, int]) -> None:
    """In an encoder layer of DINO, which has a query for each position of its four maps."""
    shapes = [tuple(-(-length // stride) for length in size) for stride in (8, 16, 32, 64)]
    queries = sum(h * w for h, w in shapes)
    inputs = attention_inputs(shapes, 2, queries, heads=8, channels=32, points=4)
    inputs = [t.float() if t.is_floating_point() else t for t in inputs]
    output = 2 * queries * 256 * 4
    samples = output * 4  # of one map; there are four
    cpu = torch.device('cpu')
    assert peak_bytes(lambda: attend(*inputs), cpu) < 2 * (output + samples)
    leaves = [inputs[i].requires_grad_() for i in (0, 3, 4)]
    grads = sum(leaf.nbytes for leaf in leaves)
    result = attend(*inputs)
    ones = torch.ones_like(result)
    peak = peak_bytes(lambda: torch.autograd.grad(result, leaves, ones), cpu)
    assert peak - grads < 2 * (output + samples)


def reference_psa_mask(x: Tensor, kind: str, h_mask: int, w_mask: int) -> Tensor:
    n, _, height, width = x.shape
    x = x.unflatten(1, (h_mask, w_mask))
    pairs = x.new_zeros(n, height, width, height, width)
    for h, w, a, b in itertools.product(*map(range, (height, width, h_mask, w_mask))):
        y, x_ = h + a - (h_mask - 1) // 2, w + b - (w_mask - 1) // 2
        if 0 <= y < height and 0 <= x_ < width:
            if kind == 'collect':
                pairs[:, y, x_, h, w] = x[:, a, b, h, w]
            else:
                pairs[:, h, w, y, x_] = x[:, a, b, h, w]
    return pairs.flatten(1, 2)


@pytest.mark.parametrize('kind', ['collect', 'distribute'])
@pytest.mark.parametrize('extent', [(3, 5), (4, 4), (9, 11)])
def test_psa_mask(kind: str, extent: tuple[int, int]) -> None:
    x = random(2, extent[0] * extent[1], 5, 6, seed=5).requires_grad_()
    expected = reference_psa_mask(x, kind, *extent)
    output = mmcv.ops.PSAMask(kind, extent)(x)
    assert torch.equal(output, expected)
    weight = random(*output.shape, seed=6)
    (found,) = torch.autograd.grad(output, x, weight)
    assert torch.equal(found, torch.autograd.grad(expected, x, weight)[0])


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_psa_mask_of_half_precision_and_channels_last(dtype: torch.dtype) -> None:
    x = random(2, 15, 5, 6, seed=7).to(dtype, memory_format=torch.channels_last).requires_grad_()
    output = mmcv.ops.PSAMask('collect', (3, 5))(x)
    assert output.dtype == dtype
    assert torch.equal(output, reference_psa_mask(x, 'collect', 3, 5))
    output.sum().backward()
    assert x.grad.dtype == dtype


def test_psa_mask_of_no_images() -> None:
    x = torch.zeros(0, 9, 4, 4, requires_grad=True)
    output = mmcv.ops.PSAMask('distribute', (3, 3))(x)
    assert output.shape == (0, 16, 4, 4)
    output.sum().backward()
    assert x.grad.shape == x.shape
