"""A config, and the model of a config."""

import inspect
import traceback
from copy import deepcopy
from pathlib import Path
from typing import Any

from mmengine import registry
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope, Registry
from torch import nn

from mmdwnet.errors import UserError

SCOPES = ('mmpretrain', 'mmdet', 'mmseg')
_CHOICES = ('stop', 'skip')


def read_config(path: str | Path, changes: dict | None = None) -> Config:
    """Read a config, with a `default_scope`. It is a program, which mmengine executes.

    Args:
        path: The file.
        changes: Values by dotted key to merge into it.

    Returns:
        The config.

    Raises:
        UserError: The config is missing, cannot be read, or is of none of the three tasks.
    """
    if not Path(path).is_file():
        raise UserError(f'no config at {path}: name a file, such as those in configs/')
    try:
        cfg = Config.fromfile(path)
        if changes is not None:
            cfg.merge_from_dict(changes)
    except Exception as error:  # a config is a program: anything can go wrong in it
        raise UserError(
            f'the config {path} cannot be read: {type(error).__name__}: {error}'
        ) from error
    if cfg.get('default_scope') is None:
        cfg.default_scope = _library(cfg.get('model'))
    if cfg.default_scope not in SCOPES:
        raise UserError(
            f'the config {path} has default_scope={cfg.default_scope!r}: give one of '
            f'{SCOPES}, which decides between classification, detection and segmentation'
        )
    return cfg


def skips_bad_data(cfg: Config) -> bool:
    """Return whether bad samples are skipped; if not, they end the run.

    Raises:
        UserError: The config says neither.
    """
    choice = cfg.get('bad_data', 'stop')
    if choice not in _CHOICES:
        raise UserError(f'the config has bad_data={choice!r}: give one of {_CHOICES}')
    return choice == 'skip'


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


def _library(model: dict | None) -> str | None:
    """Return the library that a model's class comes from, as configs of classes name no scope."""
    kind = resolve(MODELS, (model or {}).get('type'))
    bases = inspect.getmro(kind) if inspect.isclass(kind) else ()
    libraries = [base.__module__.partition('.')[0] for base in bases]
    return next((library for library in libraries if library in SCOPES), None)


def _raised_by_registry(error: Exception) -> bool:
    """Return whether mmengine's registry raised an error, not a constructor that it called."""
    # It has no error class of its own. Arguments that do not fit a constructor's signature are an
    # error in the call, so in the registry's code, too.
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return frame.f_globals['__name__'].startswith(registry.__name__)
