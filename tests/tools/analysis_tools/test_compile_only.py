import pytest

pytest.importorskip('triton', reason='Triton has no package for this platform')
from benchmarking.compile_only import main_loop

LOOP = """
    /*0000*/ MOV R1, c[0x0][0x28] ;
    /*0010*/ FFMA R2, R3, R4, R2 ;
    /*0020*/ FFMA R2, R3, R5, R2 ;
    /*0030*/ IADD3 R6, R6, 0x1, RZ ;
    /*0040*/ @P0 BRA 0x10 ;
    /*0050*/ EXIT ;
"""


def test_the_loop_is_counted():
    assert main_loop(LOOP) == (4, 2)


def test_a_kernel_without_loops_is_counted_whole():
    assert main_loop(LOOP.replace('BRA 0x10', 'BRA 0x50')) == (6, 2)
