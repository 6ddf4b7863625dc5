"""Mixed precision: bfloat16 wherever the device has it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from mmengine.runner.amp import autocast
from torch import nn

from mmdwnet.errors import UserError

DTYPES = ('bfloat16', 'float16')


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Computes the loss under bfloat16 autocast, on the CPU as well.

    mmengine's AmpOptimWrapper refuses the CPU and scales the loss, which float16 needs for its
    narrow range; bfloat16 has the range of float32.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Holds while the loss is computed.

        Args:
            model: The model in training.
        """
        with super().optim_context(model), autocast(dtype=torch.bfloat16):
            yield


def use_amp(cfg: Config, dtype: str) -> None:
    """Makes a config train in mixed precision.

    Args:
        cfg: The config; its `optim_wrapper` is changed in place.
        dtype: One of `DTYPES`, or 'auto' for bfloat16 where the device has it, else float16.

    Raises:
        UserError: The device lacks the dtype, or the config has an optimiser wrapper of its own.
    """
    wrapper = cfg.optim_wrapper
    given = wrapper.get('type', 'OptimWrapper')
    if given not in ('OptimWrapper', 'AmpOptimWrapper', 'BFloat16OptimWrapper'):
        raise UserError(
            f'--amp takes the place of OptimWrapper, but the config has optim_wrapper.type={given}:'
            ' leave --amp out and choose the precision in the config'
        )
    cuda = torch.cuda.is_available()
    has_bfloat16 = not cuda or torch.cuda.is_bf16_supported(including_emulation=False)
    if dtype == 'auto':
        dtype = 'bfloat16' if has_bfloat16 else 'float16'
    if dtype == 'float16' and not cuda:
        raise UserError(
            'there is no float16 training on the CPU: give --amp bfloat16, or use a GPU'
        )
    if dtype == 'bfloat16' and not has_bfloat16:
        raise UserError('this GPU has no bfloat16: give --amp float16')
    if dtype == 'bfloat16':
        wrapper.type = 'BFloat16OptimWrapper'
        for key in ('loss_scale', 'dtype', 'use_fsdp'):
            wrapper.pop(key, None)
    else:
        wrapper.update(type='AmpOptimWrapper', dtype='float16')
