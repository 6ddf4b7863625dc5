"""The model of a config."""

import traceback
from copy import deepcopy
from typing import Any

from mmengine import registry
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope, Registry
from torch import nn

from mmdwnet.errors import UserError


def build_model(cfg: Config) -> nn.Module:
    """Build the model of a config, as mmengine's Runner does.

    Args:
        cfg: The config.

    Returns:
        The model, on the CPU, before `init_weights`.

    Raises:
        UserError: The model's config is wrong.
    """
    model = deepcopy(cfg.model)
    if cfg.get('data_preprocessor') is not None:
        model.setdefault('data_preprocessor', cfg.data_preprocessor)
    try:
        with DefaultScope.overwrite_default_scope(cfg.default_scope):
            return MODELS.build(model)
    except (KeyError, TypeError) as error:
        if not _raised_by_registry(error):
            raise
        raise UserError(f'the model of {cfg.filename} cannot be built: {error.args[0]}') from error


def resolve(registry: Registry, kind: Any) -> Any:
    """Return the class that `type` is in a config, or names in the default scope, or None."""
    if not isinstance(kind, str):
        return kind
    with registry.switch_scope_and_registry(None) as scoped:
        return scoped.get(kind)


def _raised_by_registry(error: Exception) -> bool:
    """Return whether mmengine's registry raised an error, not a constructor that it called."""
    # It has no error class of its own. Arguments that do not fit a constructor's signature are an
    # error in the call, so in the registry's code, too.
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return frame.f_globals['__name__'].startswith(registry.__name__)
