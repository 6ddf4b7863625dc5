import pytest
import torch

from mmdwnet.engine.precision import training_dtype
from mmdwnet.errors import UserError


def test_cpu_trains_in_float32_unless_told_otherwise():
    assert training_dtype('auto', 'cpu') == training_dtype('float32', 'cpu') == torch.float32
    assert training_dtype('bfloat16', 'cpu') == torch.bfloat16


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_gpu_trains_in_half_precision():
    modern = torch.cuda.is_bf16_supported(including_emulation=False)
    assert training_dtype('auto', 'cuda') == (torch.bfloat16 if modern else torch.float16)
    assert training_dtype('float16', 'cuda') == torch.float16
    assert training_dtype('float32', 'cuda') == torch.float32


@pytest.mark.parametrize(
    ('name', 'said'),
    [
        ('float16', 'there is no float16 training on the CPU: give --amp bfloat16, or use a GPU'),
        ('half', "there is no training in dtype='half'"),
    ],
)
def test_impossible_dtypes_are_refused(name, said):
    with pytest.raises(UserError, match=said):
        training_dtype(name, 'cpu')
