"""Arguments for the operators: they give what the definition does, or are refused in a sentence."""

import torch
from hypothesis import strategies as st

from mmdwnet.errors import UserError
from mmdwnet.ops import idynamic

from ..ops import reference
from .fuzzing import fuzz

NAMES = st.sampled_from(sorted(reference.OPERATORS))
DTYPES = st.sampled_from(sorted(reference.TOLERANCES, key=str))
FORMATS = st.sampled_from([torch.contiguous_format, torch.channels_last])
BACKENDS = st.sampled_from([None, 'torch', 'cpu'])
SIZES = st.fixed_dictionaries(
    dict(
        n=st.integers(0, 3),
        groups=st.integers(1, 3),
        h=st.integers(1, 6),
        w=st.integers(1, 6),
        k=st.sampled_from([3, 5, 7, 9, 31]),
    )
)


@fuzz(
    60, name=NAMES, sizes=SIZES, wide=st.integers(1, 3), dtype=DTYPES, form=FORMATS, back=BACKENDS
)
def test_operators_do_what_they_are_defined_to(name, sizes, wide, dtype, form, back) -> None:
    sizes = dict(sizes, c=sizes['groups'] * wide)
    reference.check(name, sizes, dtype, form, back, TOLERANCES[dtype])


# Sums of up to 961 terms, rather than of the few in the other tests.
TOLERANCES = {
    **reference.TOLERANCES,
    torch.bfloat16: dict(rtol=2**-7, atol=2**-7),
    torch.float16: dict(rtol=2**-10, atol=2**-9),
}
AXES = st.integers(0, 5)
TENSORS = st.builds(
    lambda shape, dtype, layout, device: layout(torch.ones(shape, dtype=dtype, device=device)),
    st.lists(AXES, max_size=6),
    st.sampled_from([torch.float32] * 5 + [torch.float64, torch.int64, torch.bool]),
    st.sampled_from([lambda x: x] * 4 + [lambda x: x.transpose(0, -1) if x.ndim else x]),
    st.sampled_from(['cpu'] * 5 + ['meta']),
)


def shapes(name: str, n: int, c: int, g: int, h: int, w: int, k: int) -> tuple[tuple, tuple]:
    weight = {'static': (c, k, k), 'dynamic': (n, c, k, k), 'inhomogeneous': (n, g, k, k, h, w)}
    return (n, c, h, w), weight[name]


@fuzz(
    150,
    name=NAMES,
    sizes=st.tuples(*[AXES] * 5, st.integers(0, 8)),
    odd=st.dictionaries(st.sampled_from(['x', 'weight', 'bias', 'scale']), TENSORS, max_size=2),
    backend=st.sampled_from([None, 'torch', 'cpu', 'triton', 'x', 1]),
    relu=st.booleans(),
)
def test_operators_say_what_does_not_fit(name, sizes, odd, backend, relu) -> None:
    x, weight = (torch.ones(shape) for shape in shapes(name, *sizes))
    given = dict(x=x, weight=weight, bias=torch.ones(x.shape[1]), scale=torch.ones(x.shape[1]))
    given |= odd
    try:
        out = reference.OPERATORS[name](**given, relu=relu, backend=backend)
    except UserError as error:
        assert '\n' not in str(error)
        return
    assert out.shape == given['x'].shape and out.dtype == given['x'].dtype
    if out.device.type == 'meta' or not out.numel():
        return
    plain = given['x'].double(), given['weight'].double(), torch.zeros(out.shape[1]).double()
    exact = reference.by_definition(*plain, torch.zeros(out.shape).double())[0]
    exact = exact * given['scale'].double()[:, None, None] + given['bias'].double()[:, None, None]
    torch.testing.assert_close(out.double(), exact.relu() if relu else exact, rtol=1e-5, atol=1e-4)


NUMBERS = st.one_of(
    st.integers(-1, 4), st.tuples(st.integers(0, 3), st.integers(0, 3)), st.none(), st.just('same')
)


@fuzz(60, x=TENSORS, weight=TENSORS, stride=NUMBERS, padding=NUMBERS, dilation=NUMBERS)
def test_idynamic_says_what_does_not_fit(x, weight, stride, padding, dilation) -> None:
    try:
        out = idynamic(x, weight, None, stride, padding, dilation)
    except UserError as error:
        assert '\n' not in str(error)
    else:
        assert out.shape == x.shape
