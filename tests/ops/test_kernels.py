"""The Triton kernels compile for GPUs that need not be there, into as few instructions as known."""

import pytest
import torch

triton = pytest.importorskip('triton', reason='Triton has no package for this platform')
from benchmarking.compile_only import compile_launch, figures, launches, source  # noqa: E402
from benchmarking.operator_steps import Size  # noqa: E402
from triton.backends.compiler import GPUTarget  # noqa: E402

# Channels and maps of classification and of detection.
STAGES = [(96, 56, 56), (192, 28, 28), (384, 14, 14), (768, 7, 7)]
STAGES += [(96, 200, 304), (192, 100, 152), (384, 50, 76), (768, 25, 38), (768, 13, 19)]
SIZES = [Size(2, *stage) for stage in STAGES]
DTYPES = (torch.bfloat16, torch.float32, torch.float16, torch.float64)
# Instructions per multiply-add, in bfloat16 and float32.
MOST = {'product': (2.2, 2.0), 'weight gradient': (2.8, 2.5)}


@pytest.mark.parametrize(
    ('dtype', 'capability'),
    [
        pytest.param(dtype, capability, marks=pytest.mark.slow if (number, at) != (0, 0) else ())
        for number, dtype in enumerate((torch.bfloat16, torch.float32))
        for at, capability in enumerate((90, 80, 100, 120))
    ],
)
def test_instructions_of_the_paper_s_kernels(dtype, capability):
    for name, most in MOST.items():
        launch = dict(launches(SIZES[0], dtype))[f'depthwise {name}']
        row = figures(launch, SIZES[0], dtype, capability)
        assert row['spills'] == 0
        # One may do two multiply-adds, from compute capability 10.0.
        assert 0.5 <= row['instructions / multiply-add'] <= most[dtype == torch.float32]


@pytest.mark.slow
@pytest.mark.parametrize('capability', [80, 90])
@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('k', [3, 5, 7, 9, 13, 31])
def test_nothing_is_spilled(k, dtype, capability):
    compiled = set()
    for c, h, w in STAGES:
        size = Size(2, c, h, w, k)
        for name, launch in launches(size, dtype):
            if (code := source(launch).hash()) in compiled:
                continue
            compiled.add(code)
            row = figures(launch, size, dtype, capability)
            assert row['spills'] == 0, (name, size)
            kind, found = name.partition(' ')[2], row['instructions / multiply-add']
            if k == 7 and dtype in DTYPES[:2] and not name.startswith('inhomogeneous'):
                assert found <= MOST[kind][dtype == torch.float32], (name, size)


@pytest.mark.slow
@pytest.mark.parametrize('capability', [75, 86, 89, 100, 120])
@pytest.mark.parametrize('dtype', DTYPES)
def test_nothing_is_spilled_on_other_gpus(dtype, capability):
    for size in (SIZES[0], SIZES[3]):
        for name, launch in launches(size, dtype):
            assert figures(launch, size, dtype, capability)['spills'] == 0, (name, size)


@pytest.mark.parametrize('name', [name for name, _ in launches(SIZES[0], torch.float32)])
def test_kernels_compile_for_amd(name):
    launch = dict(launches(Size(2, 96, 56, 56, k=3), torch.float32))[name]
    assert compile_launch(launch, GPUTarget('hip', 'gfx942', 64)).asm['hsaco']


@pytest.mark.parametrize('k', [3, 7, 31])
@pytest.mark.parametrize('stage', STAGES)
def test_few_lanes_idle(stage, k):
    """Few lanes lack work: at the right edge, above the last channel, after the last strip."""
    size = Size(8, *stage, k)
    for name, launch in launches(size, torch.float32):
        c, steps = launch.constants, launch.arguments.get('steps', 1)
        edge = 1
        if name.startswith('inhomogeneous'):
            lanes = c['POSITIONS'] * c['BLOCK_G'] * c['BLOCK_M'] * c['PARTS']
        else:
            lanes = c['LANES'] * c['STRIP'] * c['BLOCK_C'] * steps * c.get('ROWS', k) / k
            edge = size.w / (triton.cdiv(size.w, c['STRIP']) * c['STRIP'])
        computed = launch.grid[0] * launch.grid[1] * lanes
        used = size.n * size.c * size.h * size.w
        assert edge > 0.9, name
        # A chunk of dynamic kernels' weight gradient is of one image, which may have 7 strips.
        most = 0.13 if name == 'dynamic weight gradient' else 0.1
        assert (1 - most) * edge <= used / computed <= edge + 1e-6, name
