"""Check that checkpoints fit a model; each check raises a UserError that says what does not."""

import re

from torch import Tensor, nn

from mmdwnet.errors import UserError

from .keys import differences, is_plain, some
from .latest import training_meta
from .loading import load
from .releases import SCHEME


def check_pretrained(model: nn.Module) -> None:
    """Check that the checkpoints named by a model's `init_cfg` exist and fit."""
    for module in model.modules():
        given = getattr(module, 'init_cfg', None) or []
        for init_cfg in [given] if isinstance(given, dict) else given:
            if init_cfg.get('type') == 'Pretrained':
                path, prefix = init_cfg['checkpoint'], init_cfg.get('prefix')
                _check_some(path, _weights(path, module, prefix), module)


def check_some_weights(path: str, model: nn.Module) -> None:
    """Check that a checkpoint to start training from has weights for the model."""
    _check_some(path, _weights(path, model), model)


def check_all_weights(path: str, model: nn.Module) -> None:
    """Check that a checkpoint has exactly the weights of the model."""
    _check_all(path, _weights(path, model), model)


def check_resumable(path: str, model: nn.Module) -> None:
    """Check that training can be resumed from a checkpoint."""
    if path.startswith(SCHEME):
        raise UserError(
            f'training cannot be resumed from {path}, which has weights and no training state: '
            'start a training from it by --cfg-options load_from=... instead'
        )
    _check_all(path, _weights(path, model), model)
    if training_meta(path) is None:
        raise UserError(
            f'the checkpoint {path} has weights, but nothing to resume from: start a training '
            'from it by --cfg-options load_from=... instead'
        )


def _weights(path: str, module: nn.Module, prefix: str | None = None) -> dict[str, Tensor]:
    """Return the state dict in a checkpoint, of the part below `prefix` if one is given."""
    start = f'{prefix.rstrip(".")}.' if prefix else ''
    checkpoint = load(path)
    found = checkpoint.get('state_dict', checkpoint)
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise UserError(
            f'the checkpoint {path} has no state dict: name one that mmengine or '
            'torch.save(model.state_dict()) wrote'
        )
    weights = {re.sub(r'^module\.', '', key): value for key, value in found.items()}
    weights = {
        key.removeprefix(start): value for key, value in weights.items() if key.startswith(start)
    }
    own = module.state_dict()
    strange = [key for key in own if key in weights and not _fits_in(weights[key], own[key])]
    if strange:
        raise UserError(
            f'the checkpoint {path} has weights that are not dense real tensors: {some(strange)}; '
            'convert them'
        )
    return {key: value for key, value in weights.items() if isinstance(value, Tensor)}


def _fits_in(value: object, own: Tensor) -> bool:
    """Return whether a parameter can take all that a value holds."""
    return is_plain(value) and value.is_complex() <= own.is_complex()


def _check_some(path: str, weights: dict[str, Tensor], module: nn.Module) -> None:
    own = module.state_dict()
    if not any(key in weights and weights[key].shape == value.shape for key, value in own.items()):
        raise UserError(
            f'the checkpoint {path} has nothing for {type(module).__name__}: it has '
            f'{some(weights)}, where {some(own)} would fit'
        )


def _check_all(path: str, weights: dict[str, Tensor], model: nn.Module) -> None:
    shapes = {key: value.shape for key, value in model.state_dict().items()}
    told = differences(weights, shapes)
    if told:
        raise UserError(
            f'the checkpoint {path} is of another model than the config describes: {told}; give '
            'the config it was trained with'
        )
