"""Read configs, and what they say about their task and about bad data."""

import inspect
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import MODELS

from mmdwnet.errors import UserError

from .building import resolve

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


def _library(model: dict | None) -> str | None:
    """Return the library that a model's class comes from, as configs of classes name no scope."""
    kind = resolve(MODELS, (model or {}).get('type'))
    bases = inspect.getmro(kind) if inspect.isclass(kind) else ()
    libraries = [base.__module__.partition('.')[0] for base in bases]
    return next((library for library in libraries if library in SCOPES), None)
