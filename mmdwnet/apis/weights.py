"""Whether the model of a config can be built, and whether checkpoints fit it."""

import re
import traceback
from collections.abc import Collection
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from mmdwnet.errors import UserError
from mmdwnet.models.mixers import DynamicMixer

# What mmengine's checkpoints hold beside tensors: histories of losses, which are numpy arrays and
# pickle their methods by name. None of these runs code of the file's choosing.
_multiarray = (np._core if hasattr(np, '_core') else np.core).multiarray  # numpy 2 or 1
_SAFE_GLOBALS = [
    getattr,
    HistoryBuffer,
    np.ndarray,
    np.dtype,
    _multiarray._reconstruct,
    _multiarray.scalar,
    *(type(np.dtype(name)) for name in ('float32', 'float64', 'int64', 'uint32')),
]
_SHOWN = 3  # keys of each kind in a message


def build_model(cfg: Config) -> nn.Module:
    """Builds the model of a config, as mmengine's Runner does later.

    Args:
        cfg: The config.

    Returns:
        The model, on the CPU, not initialised.

    Raises:
        UserError: The model's config is wrong.
    """
    init_default_scope(cfg.default_scope)
    model = deepcopy(cfg.model)
    if cfg.get('data_preprocessor') is not None:
        model.setdefault('data_preprocessor', cfg.data_preprocessor)
    try:
        return MODELS.build(model)
    except (KeyError, TypeError) as error:
        # The registry raises these on a name it does not know, and where the arguments do not fit
        # the name; from anywhere else they are a program's fault, not a config's.
        if 'mmengine/registry' not in Path(_origin(error)).as_posix():
            raise
        raise UserError(f'the model of {cfg.filename} cannot be built: {error.args[0]}') from error


def check_batch(model: nn.Module, batch_size: int | None, distributed: bool) -> None:
    """Refuses to train on one image per process what needs two.

    Args:
        model: The model.
        batch_size: Images per process, if known.
        distributed: Whether there may be several processes, which SyncBN needs to be of use.

    Raises:
        UserError: A dynamic mixer would see one value per channel.
    """
    if batch_size != 1:
        return
    for module in model.train().modules():
        if not isinstance(module, DynamicMixer):
            continue
        synchronised = distributed and isinstance(module.bn, nn.SyncBatchNorm)
        if not synchronised:
            revert_sync_batchnorm(module)(torch.zeros(1, module.bias.numel(), 1, 1))


def check_exists(path: str) -> None:
    """Looks for a checkpoint; those behind a URL are left to mmengine.

    Args:
        path: Of the checkpoint.

    Raises:
        UserError: There is none.
    """
    if '://' not in path and not Path(path).is_file():
        raise UserError(f'no checkpoint at {path}: train the model that makes it, or name another')


def check_pretrained(model: nn.Module) -> None:
    """Sees whether the checkpoints that parts of a model start from exist and fit.

    Args:
        model: The model, built but not initialised.

    Raises:
        UserError: One does not.
    """
    for module in model.modules():
        given = getattr(module, 'init_cfg', None) or []
        for init_cfg in [given] if isinstance(given, dict) else given:
            if init_cfg.get('type') == 'Pretrained':
                path, prefix = init_cfg['checkpoint'], init_cfg.get('prefix')
                _check_some(path, _read_weights(path, prefix), module)


def check_some_weights(path: str, model: nn.Module) -> None:
    """Sees whether a checkpoint to start training from has anything for the model.

    Args:
        path: Of the checkpoint.
        model: The model.

    Raises:
        UserError: It is missing, corrupt or of something else altogether.
    """
    _check_some(path, _read_weights(path), model)


def check_all_weights(path: str, model: nn.Module) -> None:
    """Sees whether a checkpoint has exactly the weights of the model.

    Args:
        path: Of the checkpoint.
        model: The model.

    Raises:
        UserError: It is missing, corrupt or of another model.
    """
    _check_all(path, _weights(path, _read(path)), model)


def check_resumable(path: str, model: nn.Module) -> None:
    """Sees whether training can go on from a checkpoint.

    Args:
        path: Of the checkpoint.
        model: The model.

    Raises:
        UserError: It is missing, corrupt, of another model, or has only weights.
    """
    checkpoint = _read(path)
    _check_all(path, _weights(path, checkpoint), model)
    if not {'meta', 'optimizer'} <= set(checkpoint):
        raise UserError(
            f'the checkpoint {path} has weights, but nothing to resume from: start a training '
            'from it by --cfg-options load_from=... instead'
        )


def _read(path: str) -> dict:
    check_exists(path)
    # mmengine 0.10.7 reads with torch's default, which from torch 2.6 on refuses its own histories;
    # later versions fall back to running what a pickle asks for. Hence local files are read here
    # first, as data. (Later versions also take their own list back after a reading, so this stays
    # beside it.)
    torch.serialization.add_safe_globals(_SAFE_GLOBALS)
    try:
        if '://' in path:
            checkpoint = CheckpointLoader.load_checkpoint(path, map_location='cpu')
        else:
            checkpoint = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # torch raises whatever the bytes happen to lead to
        foreign = re.search(r'GLOBAL (\S+)', str(error))
        if foreign:
            raise UserError(
                f'the checkpoint {path} holds more than data ({foreign[1]}), which could run any '
                'program and is not read: save its weights alone'
            ) from error
        raise UserError(
            f'the checkpoint {path} cannot be read, so it is corrupt or no checkpoint: '
            f'{type(error).__name__}; copy or train it anew'
        ) from error
    if not isinstance(checkpoint, dict):
        raise UserError(
            f'{path} is no checkpoint, but a {type(checkpoint).__name__}: name one that mmengine '
            'or torch.save(model.state_dict()) wrote'
        )
    return checkpoint


def _weights(path: str, checkpoint: dict, prefix: str | None = None) -> dict[str, Tensor]:
    """Returns the state dict in a checkpoint, of the part below `prefix` if one is given."""
    start = f'{prefix.rstrip(".")}.' if prefix else ''
    weights = checkpoint.get('state_dict', checkpoint)
    weights = {re.sub(r'^module\.', '', key): value for key, value in weights.items()}
    return {
        key.removeprefix(start): value
        for key, value in weights.items()
        if key.startswith(start) and isinstance(value, Tensor)
    }


def _read_weights(path: str, prefix: str | None = None) -> dict[str, Tensor]:
    return _weights(path, _read(path), prefix)


def _check_some(path: str, weights: dict[str, Tensor], module: nn.Module) -> None:
    own = module.state_dict()
    if not any(key in weights and weights[key].shape == value.shape for key, value in own.items()):
        raise UserError(
            f'the checkpoint {path} has nothing for {type(module).__name__}: it has '
            f'{_some(weights)}, where {_some(own)} would fit'
        )


def _check_all(path: str, weights: dict[str, Tensor], model: nn.Module) -> None:
    own = model.state_dict()
    kinds = {
        'missing': [key for key in own if key not in weights],
        'unexpected': [key for key in weights if key not in own],
        'of another shape': [
            key for key in own if key in weights and weights[key].shape != own[key].shape
        ],
    }
    if any(kinds.values()):
        told = '; '.join(f'{_some(keys)} {kind}' for kind, keys in kinds.items() if keys)
        raise UserError(
            f'the checkpoint {path} is of another model than the config describes: {told}; give '
            'the config it was trained with'
        )


def _some(keys: Collection[str]) -> str:
    """Counts keys and names the first of them."""
    more = ', ...' if len(keys) > _SHOWN else ''
    names = f' ({", ".join(list(keys)[:_SHOWN])}{more})' if keys else ''
    return f'{len(keys)} key{"" if len(keys) == 1 else "s"}{names}'


def _origin(error: BaseException) -> str:
    """Returns the file whose code raised an error."""
    return traceback.extract_tb(error.__traceback__)[-1].filename
