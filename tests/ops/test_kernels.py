"""The Triton kernels compile for GPUs that need not be there."""

import pytest

triton = pytest.importorskip('triton', reason='Triton has no package for this platform')
from triton.backends.compiler import GPUTarget  # noqa: E402

from mmdwnet.ops import kernels  # noqa: E402

LAUNCHES = {
    'product': (
        'x weight scale bias out',
        'C H W group_size stride_n stride_g stride_i stride_j stride_h stride_w',
        dict(SCALE=True, BIAS=True, RELU=True, TILE_H=8, TILE_W=8, BLOCK_C=32),
    ),
    'weight_grad': ('grad x', 'C H W', dict(TAPS=8, ROWS=16, BLOCK_P=16, BLOCK_C=32)),
    'weight_grad_per_position': (
        'grad x out',
        'G H W group_size stride_n stride_g stride_i stride_j stride_h stride_w',
        dict(TILE_H=4, TILE_W=8, BLOCK_G=8, BLOCK_M=8),
    ),
}
VARIANTS = {
    'product': [
        dict(PER_POSITION=False, TRANSPOSED=False),
        dict(PER_POSITION=True, TRANSPOSED=True),
    ],
}


@pytest.mark.parametrize('kernel', LAUNCHES)
@pytest.mark.parametrize(('capability', 'dtype'), [(80, 'fp32'), (90, 'bf16')])
def test_kernels_compile_for_gpus_that_are_absent(kernel, capability, dtype):
    pointers, integers, constants = LAUNCHES[kernel]
    signature = dict.fromkeys(pointers.split(), f'*{dtype}')
    if kernel == 'weight_grad':
        signature['out'] = '*fp32'
    signature |= dict.fromkeys(integers.split(), 'i32')
    for variant in VARIANTS.get(kernel, [{}]):
        values = dict(constants, **variant, K=7, ACC=triton.language.float32)
        source = triton.compiler.ASTSource(
            getattr(kernels, kernel), {**signature, **dict.fromkeys(values, 'constexpr')}, values
        )
        compiled = triton.compile(source, target=GPUTarget('cuda', capability, 32))
        assert f'sm_{capability}' in compiled.asm['ptx']
        assert compiled.asm['cubin']
