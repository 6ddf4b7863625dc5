"""The depth-wise products against their definition, in every dtype, format and size."""

import pytest
import torch
from torch.autograd import forward_ad

from mmdwnet.errors import UserError
from mmdwnet.ops import (
    depthwise_conv2d,
    dynamic_depthwise_conv2d,
    idynamic,
    inhomogeneous_depthwise_conv2d,
)

from ..hiding import OPENMMLAB, run_without
from . import reference
from .reference import OPERATORS, SIZES, random

FORMATS = (torch.contiguous_format, torch.channels_last)


@pytest.mark.parametrize('name', OPERATORS)
@pytest.mark.parametrize('memory_format', FORMATS)
@pytest.mark.parametrize('sizes', SIZES.values(), ids=SIZES)
@pytest.mark.parametrize('backend', ['torch', 'cpu'])
def test_results_and_gradients(name, sizes, memory_format, backend):
    reference.check(name, sizes, torch.float64, memory_format, backend)
    reference.check(name, sizes, torch.float32, memory_format, backend)


@pytest.mark.parametrize('name', OPERATORS)
@pytest.mark.parametrize('memory_format', FORMATS)
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_low_precision_rounds_only_once(name, dtype, memory_format):
    sizes = dict(n=3, c=32, groups=8, h=12, w=13, k=7)
    reference.check(name, sizes, dtype, memory_format, backend=None)


@pytest.mark.parametrize('name', OPERATORS)
@pytest.mark.parametrize('backend', ['torch', 'cpu'])
def test_derivatives_of_first_and_second_order(name, backend):
    *leaves, _ = reference.inputs(name, n=2, c=4, groups=2, h=3, w=4, k=3)
    for leaf in leaves:
        leaf.requires_grad_()

    def operator(*tensors):
        return OPERATORS[name](*tensors, backend=backend)

    assert torch.autograd.gradcheck(operator, leaves)
    assert torch.autograd.gradgradcheck(operator, leaves)


def transformed(name: str, **options) -> dict[str, torch.Tensor]:
    """Return what forward-mode differentiation and torch.func make of an operator."""
    *leaves, _ = (t.float() for t in reference.inputs(name, n=2, c=4, groups=2, h=3, w=4, k=3))
    tangents = [random(*leaf.shape, seed=9).float() for leaf in leaves]

    def operator(*tensors):
        return OPERATORS[name](*tensors, **options)

    def loss(*tensors):
        return operator(*tensors).square().sum()

    with forward_ad.dual_level():
        duals = [forward_ad.make_dual(*pair) for pair in zip(leaves, tangents, strict=True)]
        tangent = forward_ad.unpack_dual(operator(*duals)).tangent
    return {
        'forward_ad': tangent,
        'jvp': torch.func.jvp(operator, tuple(leaves), tuple(tangents))[1],
        'grad': torch.func.grad(loss)(*leaves),
        'hessian': torch.func.hessian(loss, 2)(*leaves),
        'vmap': torch.func.vmap(operator)(*(leaf.expand(3, *leaf.shape) for leaf in leaves)),
    }


def test_torch_still_tells_what_is_transformed():
    told = []

    def ask(x):
        told.append((forward_ad._current_level >= 0, torch._C._are_functorch_transforms_active()))
        return x

    ask(X)
    torch.func.vmap(ask)(X)
    with forward_ad.dual_level():
        ask(X)
    expected = [(False, False), (False, True), (True, False)]
    assert told == expected, 'torch moved these private names: mend mmdwnet.ops.functional'


@pytest.mark.parametrize('name', OPERATORS)
def test_forward_mode_and_function_transforms(name):
    *leaves, _ = (t.float() for t in reference.inputs(name, n=2, c=4, groups=2, h=3, w=4, k=3))
    x, weight, bias = (random(*leaf.shape, seed=9).float() for leaf in leaves)
    found = transformed(name)
    operator = OPERATORS[name]
    tangent = operator(x, leaves[1], bias) + operator(leaves[0], weight)  # it is bilinear
    torch.testing.assert_close(found['forward_ad'], tangent)
    torch.testing.assert_close(found['jvp'], tangent)
    out = operator(leaves[0].requires_grad_(), *leaves[1:])
    (grad,) = torch.autograd.grad(out.square().sum(), leaves[0])
    torch.testing.assert_close(found['grad'], grad)
    values = 2.0 * x.shape[0] * x.shape[2] * x.shape[3]
    torch.testing.assert_close(found['hessian'], values * torch.eye(4, dtype=x.dtype))
    torch.testing.assert_close(found['vmap'], out.detach().expand(3, *out.shape))
    for backend in ('cpu', 'triton'):
        with pytest.raises(UserError, match=f"{backend}' supports neither .*give backend='torch'"):
            transformed(name, backend=backend)


@pytest.mark.parametrize('name', OPERATORS)
def test_some_gradients_without_the_others(name):
    for which in range(3):
        x, weight, bias, grad = reference.inputs(name, n=2, c=4, groups=2, h=5, w=4, k=5)
        leaves = [x.float(), weight.float(), bias.float()]
        leaves[which].requires_grad_()
        OPERATORS[name](*leaves).backward(grad.float())
        expected = reference.by_definition(x, weight, bias, grad)[1 + which]
        torch.testing.assert_close(leaves[which].grad.double(), expected)


@pytest.mark.parametrize('name', OPERATORS)
@pytest.mark.parametrize('backend', ['torch', 'cpu'])
def test_scale_bias_and_relu_are_the_same_fused_or_not(name, backend):
    x, weight, bias, _ = reference.inputs(name, n=2, c=6, groups=3, h=5, w=6, k=3)
    scale = random(6, seed=4)
    product = reference.by_definition(x, weight, torch.zeros_like(bias), x)[0]
    expected = (product * scale[:, None, None] + bias[:, None, None]).relu()
    options = dict(scale=scale, relu=True, backend=backend)
    torch.testing.assert_close(OPERATORS[name](x, weight, bias, **options), expected)
    recorded = OPERATORS[name](x.requires_grad_(), weight, bias, **options)
    torch.testing.assert_close(recorded, expected)
    recorded.sum().backward()
    assert x.grad.any()


@pytest.mark.parametrize('name', OPERATORS)
def test_repeated_calls_are_equal_to_the_bit(name):
    tensors = reference.inputs(name, n=4, c=32, groups=8, h=14, w=14, k=7)
    first, second = (
        reference.run(name, tensors, torch.float32, torch.channels_last, None) for _ in range(2)
    )
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize('name', OPERATORS)
def test_autocast_computes_in_its_dtype(name):
    tensors = reference.inputs(name, n=2, c=4, groups=2, h=5, w=5, k=3)
    with torch.autocast('cpu', torch.bfloat16):
        out, *grads = reference.run(name, tensors, torch.float32, torch.channels_last, None)
    assert out.dtype == torch.bfloat16
    assert all(grad.dtype == torch.float32 for grad in grads)
    torch.testing.assert_close(
        out, OPERATORS[name](*(t.bfloat16() for t in tensors[:3])), rtol=2**-8, atol=1e-3
    )


def test_large_maps_are_filtered_in_parts():
    # Three parts for each image on the CPU, where the smaller tests have one for all images.
    x, weight = random(2, 3, 300, 400), random(2, 3, 3, 3, 300, 400, seed=1)
    grad = random(2, 3, 300, 400, seed=2)
    outs = []
    for backend in ('cpu', 'torch'):
        leaves = [x.clone().requires_grad_(), weight.clone().requires_grad_()]
        out = inhomogeneous_depthwise_conv2d(*leaves, backend=backend)
        outs.append([out, *torch.autograd.grad(out, leaves, grad)])
    torch.testing.assert_close(*outs)


def test_predicted_kernels_in_channels_last_give_their_gradient_likewise():
    x = random(2, 4, 6, 5)
    predicted = random(2, 2 * 9, 6, 5, seed=1).contiguous(memory_format=torch.channels_last)
    weight = predicted.view(2, 2, 3, 3, 6, 5).requires_grad_()
    out = inhomogeneous_depthwise_conv2d(x, weight)
    torch.testing.assert_close(out, inhomogeneous_depthwise_conv2d(x, weight.contiguous()))
    (grad,) = torch.autograd.grad(out, weight, x)
    assert grad.stride() == weight.stride()


def test_drop_in_for_the_cupy_operator():
    x, weight, bias, _ = reference.inputs('inhomogeneous', n=2, c=6, groups=3, h=5, w=6, k=3)
    expected = inhomogeneous_depthwise_conv2d(x, weight, bias)
    torch.testing.assert_close(idynamic(x, weight, bias, padding=1), expected)
    torch.testing.assert_close(idynamic(x, weight, bias, (1, 1), (1, 1), (1, 1)), expected)
    for options in (dict(), dict(padding=2), dict(stride=2, padding=1), dict(dilation=2)):
        with pytest.raises(UserError, match='give stride=1, padding=1, half of the kernel'):
            idynamic(x, weight, **options)


X = torch.zeros(2, 4, 5, 6)


@pytest.mark.parametrize(
    ('call', 'sentence'),
    [
        (lambda: depthwise_conv2d(X[0], torch.zeros(4, 3, 3)), r'x has the shape \(4, 5, 6\)'),
        (lambda: depthwise_conv2d(X[:, :, :0], torch.zeros(4, 3, 3)), r'\(2, 4, 0, 6\): give'),
        (lambda: depthwise_conv2d(X.int(), torch.zeros(4, 3, 3)), 'x is torch.int32: give one'),
        (lambda: depthwise_conv2d(X, torch.zeros(4, 1, 3, 3)), r'give \(4, k, k\)'),
        (lambda: depthwise_conv2d(X, torch.zeros(4, 3, 5)), r'give \(4, k, k\)'),
        (lambda: depthwise_conv2d(X, torch.zeros(4, 4, 4)), 'kernels of 4 x 4: give an odd'),
        (lambda: depthwise_conv2d(X, torch.zeros(4, 33, 33)), 'odd side from 3 to 31'),
        (lambda: depthwise_conv2d(X, torch.zeros(4, 3, 3).double()), 'weight is torch.float64'),
        (
            lambda: depthwise_conv2d(X, torch.zeros(4, 3, 3, device='meta')),
            'weight is .* on meta, but x is .* on cpu: convert one',
        ),
        (
            lambda: depthwise_conv2d(X, torch.zeros(4, 3, 3), torch.zeros(3)),
            r'bias has the shape \(3,\), .* give \(4,\)',
        ),
        (lambda: dynamic_depthwise_conv2d(X, torch.zeros(4, 3, 3)), r'give \(2, 4, k, k\)'),
        (lambda: dynamic_depthwise_conv2d(X, torch.zeros(1, 4, 3, 3)), r'give \(2, 4, k, k\)'),
        (
            lambda: inhomogeneous_depthwise_conv2d(X, torch.zeros(2, 2, 9, 5, 6)),
            r'give \(2, G, k, k, 5, 6\)',
        ),
        (
            lambda: inhomogeneous_depthwise_conv2d(X, torch.zeros(2, 2, 3, 3, 6, 5)),
            r'give \(2, G, k, k, 5, 6\)',
        ),
        (
            lambda: inhomogeneous_depthwise_conv2d(X, torch.zeros(2, 3, 3, 3, 5, 6)),
            '3 groups, which 4 channels of x cannot form',
        ),
        (
            lambda: depthwise_conv2d(X, torch.zeros(4, 3, 3), backend='cupy'),
            r"no backend 'cupy': choose one of \['torch', 'cpu', 'triton'\]",
        ),
    ],
)
def test_what_cannot_be_computed(call, sentence):
    with pytest.raises(UserError, match=sentence):
        call()


def test_backends_refuse_other_devices():
    on_meta = X.to('meta'), torch.zeros(4, 3, 3, device='meta')
    with pytest.raises(UserError, match="'cpu' got an input on meta: move it to the CPU"):
        depthwise_conv2d(*on_meta, backend='cpu')
    pytest.importorskip('triton', reason='Triton has no package for this platform')
    with pytest.raises(UserError, match="'triton' got an input on meta: move it to CUDA"):
        depthwise_conv2d(*on_meta, backend='triton')


def test_works_without_openmmlab():
    script = """
import torch
import mmdwnet.ops
x = torch.randn(2, 4, 5, 5, requires_grad=True)
mmdwnet.ops.DepthwiseConv2d(4, 3)(x).sum().backward()
mmdwnet.ops.inhomogeneous_depthwise_conv2d(x, torch.randn(2, 2, 3, 3, 5, 5)).sum().backward()
assert not hidden & set(sys.modules)
try:
    from mmdwnet import DWNet
except ImportError as error:
    print(error)
"""
    out = run_without(OPENMMLAB | {'timm', 'torchvision'}, script)
    assert 'mmdwnet.DWNet needs OpenMMLab' in out
