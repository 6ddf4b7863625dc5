"""Mixed precision, asked for on the command line."""

import torch
from mmengine.config import Config
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS

from mmdwnet.apis.building import resolve
from mmdwnet.engine import GuardedOptimWrapper
from mmdwnet.engine.precision import training_dtype
from mmdwnet.errors import UserError

DTYPES = ('bfloat16', 'float16')


def use_amp(cfg: Config, dtype: str) -> None:
    """Make a config train in mixed precision."""
    wrapper = cfg.optim_wrapper
    given = wrapper.get('type', OptimWrapper)
    if resolve(OPTIM_WRAPPERS, given) not in (OptimWrapper, AmpOptimWrapper, GuardedOptimWrapper):
        raise UserError(
            '--amp replaces OptimWrapper, but the config has optim_wrapper.type='
            f'{getattr(given, "__name__", given)}: leave --amp out and choose the precision in the '
            'config'
        )
    for key, default in (('loss_scale', 'dynamic'), ('use_fsdp', False)):
        value = wrapper.pop(key, default)
        if value != default:
            raise UserError(
                f'--amp supports only optim_wrapper.{key}={default}, but the config has {value}: '
                'leave --amp out and choose the precision in the config'
            )
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    if dtype == 'auto' and device == 'cpu':
        dtype = 'bfloat16'  # the wrapper's own auto is float32 there, but this was asked for
    training_dtype(dtype, device)
    wrapper.update(type='GuardedOptimWrapper', dtype=dtype)
