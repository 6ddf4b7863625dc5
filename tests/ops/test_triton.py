"""The Triton kernels: on CUDA where there is one, elsewhere under Triton's interpreter.

Triton reads TRITON_INTERPRET when it is imported. So without CUDA this file's tests run in a
process of their own, which the last test starts.
"""

import os
import subprocess
import sys

import pytest
import torch

from mmdwnet.doctor import run_kernels

from . import reference
from .reference import OPERATORS, SIZES, random
from .test_library import FORMATS, calls

pytest.importorskip('triton', reason='Triton has no package for this platform')

INTERPRETED = os.environ.get('TRITON_INTERPRET') == '1'
DEVICE = 'cuda' if torch.cuda.is_available() and not INTERPRETED else 'cpu'
runs_kernels = pytest.mark.skipif(
    DEVICE == 'cpu' and not INTERPRETED, reason='runs in the process that the last test starts'
)

KERNEL_SIZES = {
    'several tiles and channel blocks': dict(n=2, c=34, groups=17, h=5, w=17, k=3),
    'several chunks of strips': dict(n=2, c=32, groups=2, h=22, w=17, k=3),
    'groups of many channels': dict(n=1, c=130, groups=2, h=2, w=5, k=3),
    'one group of many channels': dict(n=1, c=128, groups=1, h=1, w=3, k=3),
    'kernel of the paper': dict(n=1, c=6, groups=2, h=5, w=6, k=7),
    'one position': SIZES['one position'],
    'largest kernel': dict(n=1, c=2, groups=1, h=1, w=2, k=31),
    'no image': SIZES['no image'],
}


@pytest.fixture(autouse=True)
def device():
    with torch.device(DEVICE):
        yield


@runs_kernels
@pytest.mark.parametrize('name', OPERATORS)
@pytest.mark.parametrize(
    'sizes',
    [
        pytest.param(sizes, id=name, marks=pytest.mark.slow if name == 'largest kernel' else ())
        for name, sizes in KERNEL_SIZES.items()
    ],
)
def test_results_and_gradients(name, sizes):
    reference.check(name, sizes, torch.float32, torch.channels_last, 'triton')


@runs_kernels
@pytest.mark.parametrize('name', OPERATORS)
@pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16, torch.float16])
def test_dtypes_from_the_default_memory_format(name, dtype):
    sizes = dict(n=2, c=4, groups=2, h=5, w=6, k=3)
    tolerance = reference.TOLERANCES[dtype]
    if INTERPRETED and dtype == torch.bfloat16:
        tolerance = dict(rtol=2**-7, atol=1e-3)  # the interpreter cuts digits off, CUDA rounds
    reference.check(name, sizes, dtype, torch.contiguous_format, 'triton', tolerance)


@runs_kernels
@pytest.mark.parametrize('name', OPERATORS)
def test_scale_bias_and_relu_are_the_same_fused_or_not(name):
    x, weight, bias, _ = (
        t.float() for t in reference.inputs(name, n=2, c=6, groups=3, h=5, w=6, k=3)
    )
    options = dict(scale=random(6, seed=4).to(x), relu=True)
    fused = OPERATORS[name](x, weight, bias, **options, backend='triton')
    torch.testing.assert_close(
        fused, OPERATORS[name](x, weight, bias, **options, backend='torch'), rtol=1e-5, atol=1e-4
    )


@runs_kernels
def test_operators_are_what_they_declare():
    checks = ('test_schema', 'test_faketensor')
    for memory_format in FORMATS:
        for operator, arguments in calls(memory_format, 'triton'):
            torch.library.opcheck(operator, arguments, test_utils=checks)


@runs_kernels
def test_the_doctor_runs_them():
    assert run_kernels(DEVICE, k=3) == 'runs the Triton kernels'


@pytest.mark.skipif(DEVICE == 'cuda' or INTERPRETED, reason='the tests above ran themselves')
@pytest.mark.parametrize(
    'which', ['not slow', pytest.param('slow', marks=pytest.mark.slow)], ids=['fast', 'slow']
)
def test_all_of_it_under_the_interpreter(which):
    done = subprocess.run(
        [sys.executable, '-m', 'pytest', '-q', '-m', which, '-p', 'no:cacheprovider', __file__],
        env=os.environ | {'TRITON_INTERPRET': '1'},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert '1 skipped' in done.stdout  # this test, and none that runs a kernel
