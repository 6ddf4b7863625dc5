"""Compile the Triton kernels of `mmdwnet.ops` for a GPU that need not be there, and count."""

import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget

from mmdwnet.ops import cuda
from mmdwnet.ops.cuda import Launch

from .operator_steps import Size

# By compute capability: a GPU, its multiprocessors, float32 lanes of each, GHz, and GB/s of memory.
GPUS = {
    75: ('T4', 40, 64, 1.59, 320),
    80: ('A100', 108, 64, 1.41, 2039),
    86: ('RTX 3090', 82, 128, 1.70, 936),
    89: ('RTX 4090', 128, 128, 2.52, 1008),
    90: ('H100', 132, 128, 1.755, 3350),
    100: ('B200', 148, 128, 1.85, 8000),
    120: ('RTX 5090', 170, 128, 2.41, 1792),
}
ISSUED = 128  # instructions that a multiprocessor issues in a cycle, counted per thread
_INSTRUCTION = re.compile(r'/\*([0-9a-f]{4,})\*/ +(?:@!?U?P\w+ +)?([A-Z]\w*)([^;]*);')
_TOOLS = Path(triton.__file__).parent / 'backends' / 'nvidia' / 'bin'


def launches(size: Size, dtype: torch.dtype) -> Iterator[tuple[str, Launch]]:
    """Yield all kernels as they are launched in training and inference, on the meta device."""
    with torch.device('meta'):
        x, grad, out = (
            torch.empty(size.n, size.h, size.w, size.c, dtype=dtype).permute(0, 3, 1, 2)
            for _ in range(3)
        )
        bias = torch.empty(size.c, dtype=dtype)
        for name, images in (('depthwise', 1), ('dynamic', size.n)):
            weight = torch.empty(images, size.c, size.k, size.k, dtype=dtype)
            yield f'{name} product', cuda.product(x, weight, bias, True, out)
            yield f'{name} weight gradient', cuda.weight_grad(grad, x, size.k, images == 1)
        predicted = torch.empty(size.n, size.h, size.w, size.groups, size.k, size.k, dtype=dtype)
        weight = predicted.permute(0, 3, 4, 5, 1, 2)
        yield 'inhomogeneous product', cuda.product_per_position(x, weight, out, bias, bias, True)
        backward = cuda.product_per_position(grad, weight, out, transposed=True)
        yield 'inhomogeneous input gradient', backward
        yield 'inhomogeneous weight gradient', cuda.weight_grad_per_position(grad, x, weight)


def source(launch: Launch) -> triton.compiler.ASTSource:
    """Return what Triton compiles when a kernel is launched; its `hash()` tells it from others."""
    signature, constants, attributes = {}, dict(launch.constants), {}
    for position, parameter in enumerate(launch.kernel.params):
        name = parameter.name
        if name in constants:
            continue
        value = launch.arguments[name]
        if isinstance(value, Tensor):
            signature[name] = (
                '*'
                + triton.runtime.jit.type_canonicalisation_dict[
                    str(value.dtype).removeprefix('torch.')
                ]
            )
        elif value is None or (value == 1 and not parameter.do_not_specialize):
            constants[name] = value
            continue
        else:
            signature[name] = 'i32' if value < 2**31 else 'i64'
        if isinstance(value, Tensor) or (value % 16 == 0 and not parameter.do_not_specialize):
            attributes[(position,)] = [['tt.divisibility', 16]]
    signature |= dict.fromkeys(constants, 'constexpr')
    return triton.compiler.ASTSource(launch.kernel, signature, constants, attributes)


def compile_launch(launch: Launch, target: GPUTarget) -> triton.compiler.CompiledKernel:
    """Compile a kernel as Triton does when it is launched."""
    return triton.compile(source(launch), target=target, options=launch.options)


def figures(launch: Launch, size: Size, dtype: torch.dtype, capability: int) -> dict:
    """Compile a kernel for CUDA; return registers, spills and instructions, and predicted times."""
    compiled = compile_launch(launch, GPUTarget('cuda', capability, 32))
    with tempfile.NamedTemporaryFile(suffix='.cubin') as file:
        Path(file.name).write_bytes(compiled.asm['cubin'])
        code = _cuobjdump('-sass', file.name)
        usage = _cuobjdump('-res-usage', file.name)
    instructions, multiplied = main_loop(code)
    _, processors, lanes, ghz, gigabytes = GPUS[capability]
    products = size.n * size.c * size.h * size.w * size.k**2
    cycles = products * max(instructions / multiplied / ISSUED, 1 / lanes)
    moved = sum(t.nbytes for t in launch.arguments.values() if isinstance(t, Tensor))
    return {
        'registers': int(re.findall(r'REG:(\d+)', usage)[0]),
        'spills': len(re.findall(r'\b(?:LDL|STL)\b', code)),
        'shared': compiled.metadata.shared,
        'instructions / multiply-add': instructions / multiplied,
        'us by instructions': cycles / processors / ghz * 1e-3,
        'us by bytes': moved / gigabytes * 1e-3,
    }


def main_loop(code: str) -> tuple[int, int]:
    """Return how many instructions and multiply-adds the loop with most multiply-adds has.

    If there is no loop, as all of them are unrolled, count the whole kernel.
    """
    lines = [(int(at, 16), op, rest) for at, op, rest in _INSTRUCTION.findall(code)]
    loops = []
    for end, op, rest in lines:
        target = re.search(r'0x([0-9a-f]+)', rest)
        if op == 'BRA' and target and int(target[1], 16) < end:
            body = [op for at, op, _ in lines if int(target[1], 16) <= at <= end]
            loops.append((sum(_multiplied(op) for op in body), len(body)))
    if not loops:
        loops.append((sum(_multiplied(op) for _, op, _ in lines), len(lines)))
    multiplied, instructions = max(loops)
    return instructions, multiplied


def _multiplied(op: str) -> int:
    # FHFMA takes factors of 16 bits.
    one = dict.fromkeys(('FFMA', 'FHFMA', 'FMUL', 'DFMA', 'DMUL'), 1)
    return (one | {'FFMA2': 2, 'FMUL2': 2}).get(op, 0)


def _cuobjdump(*arguments: str) -> str:
    command = [str(_TOOLS / 'cuobjdump'), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
