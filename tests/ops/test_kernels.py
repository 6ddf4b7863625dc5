"""The Triton kernels compile for GPUs that need not be there, into as few instructions as known."""

import pytest
import torch

triton = pytest.importorskip('triton', reason='Triton has no package for this platform')
from benchmarking.compile_only import compile_launch, figures, launches  # noqa: E402
from benchmarking.operator_steps import Size  # noqa: E402
from triton.backends.compiler import GPUTarget  # noqa: E402

from mmdwnet.ops import cuda  # noqa: E402

STAGE = Size(2, 96, 56, 56)
DTYPES = (torch.bfloat16, torch.float32, torch.float16, torch.float64)
# Instructions per multiply-add, in bfloat16 and float32.
MOST = {'product': (2.2, 2.0), 'weight gradient': (2.8, 2.5)}


def figures_of(name: str, size: Size, dtype: torch.dtype, capability: int) -> dict:
    return figures(dict(launches(size, dtype))[name], size, dtype, capability)


@pytest.mark.parametrize('capability', [80, 90])
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float32])
def test_instructions_of_the_paper_s_kernels(dtype, capability):
    for name, most in MOST.items():
        row = figures_of(f'depthwise {name}', STAGE, dtype, capability)
        assert row['spills'] == 0
        assert 1 <= row['instructions / multiply-add'] <= most[dtype == torch.float32]


@pytest.mark.slow
@pytest.mark.parametrize('capability', [80, 90])
@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('k', [3, 5, 7, 9, 13, 31])
def test_nothing_is_spilled(k, dtype, capability):
    for width in (56, 7):  # strips of 8 and 7
        size = Size(2, 96, width, width, k)
        for name, launch in launches(size, dtype):
            assert figures(launch, size, dtype, capability)['spills'] == 0, name


@pytest.mark.parametrize('name', [name for name, _ in launches(STAGE, torch.float32)])
def test_kernels_compile_for_amd(name):
    launch = dict(launches(Size(2, 96, 56, 56, k=3), torch.float32))[name]
    assert compile_launch(launch, GPUTarget('hip', 'gfx942', 64)).asm['hsaco']


@pytest.mark.parametrize('height', range(7, 201, 19))
@pytest.mark.parametrize('width', [7, 14, 19, 28, 38, 56, 76, 152, 304])
def test_few_lanes_idle(width, height):
    x = torch.empty(2, 96, height, width, device='meta').contiguous(
        memory_format=torch.channels_last
    )
    weight = torch.empty(2, 96, 7, 7, device='meta')
    launch = cuda.product(x, weight, None, False, x)
    c = launch.constants
    computed = launch.grid[0] * c['LANES'] * c['STRIP'] * launch.grid[1] * c['BLOCK_C']
    assert x.numel() <= computed <= x.numel() / 0.9 + c['LANES'] * c['STRIP'] * 96
