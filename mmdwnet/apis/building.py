"""The model of a config."""

import traceback
from copy import deepcopy
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from mmdwnet.errors import UserError


def build_model(cfg: Config) -> nn.Module:
    """Builds the model of a config, as mmengine's Runner does later.

    Args:
        cfg: The config.

    Returns:
        The model, on the CPU, not initialised.

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
        # The registry raises these on a name it does not know, and where the arguments do not fit
        # the name; from anywhere else they are a program's fault, not a config's.
        if 'mmengine/registry' not in Path(_origin(error)).as_posix():
            raise
        raise UserError(f'the model of {cfg.filename} cannot be built: {error.args[0]}') from error


def _origin(error: BaseException) -> str:
    """Returns the file whose code raised an error."""
    return traceback.extract_tb(error.__traceback__)[-1].filename
