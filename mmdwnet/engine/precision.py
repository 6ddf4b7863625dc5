"""The precisions that a loss can be computed in."""

import torch

from mmdwnet.errors import UserError

DTYPES = dict(float32=torch.float32, bfloat16=torch.bfloat16, float16=torch.float16)


def training_dtype(name: str, device: str) -> torch.dtype:
    """Return the dtype that convolutions and matrix products of a training run are computed in.

    Args:
        name: 'float32', 'bfloat16', 'float16', or 'auto': on a GPU bfloat16 where it has that, else
            float16; on the CPU float32, as the rest is slower there.
        device: Type of the model's device, such as 'cuda' or 'cpu'.

    Raises:
        UserError: There is no such dtype, or the device cannot train in it.
    """
    if name not in ('auto', *DTYPES):
        raise UserError(f'there is no training in dtype={name!r}: give auto or one of {[*DTYPES]}')
    cuda = device == 'cuda'
    has_bfloat16 = not cuda or torch.cuda.is_bf16_supported(including_emulation=False)
    if name == 'auto':
        return (torch.bfloat16 if has_bfloat16 else torch.float16) if cuda else torch.float32
    if name == 'float16' and not cuda:
        raise UserError(
            'there is no float16 training on the CPU: give --amp bfloat16, or use a GPU'
        )
    if name == 'bfloat16' and not has_bfloat16:
        raise UserError('this GPU has no bfloat16: give --amp float16')
    return DTYPES[name]
