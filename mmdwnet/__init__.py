"""DWNet backbones for OpenMMLab's classifiers, detectors and segmentors.

Importing the package registers its classes in mmengine's root registries, from which mmpretrain,
mmdet and mmseg resolve them; the released weights, `dwnet://NAME`, with mmengine; and the names of
the classifiers with mmpretrain. It stands in for mmcv's compiled operators where mmcv came without
any. None of these libraries is imported for that: see `registration.py`. Without OpenMMLab,
`mmdwnet.ops`, `mmdwnet.models` and `mmdwnet.deploy` need torch alone.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from . import mmcv_ext, registration
from .version import __version__

if TYPE_CHECKING:
    from . import checkpoints, deploy, models, ops
    from .apis.hub import config_path, get_config, list_models
    from .apis.inferencers import inferencer
    from .apis.predicting import load
    from .backbones import MIXERS, DWNet, SwinMLP
    from .engine import FuseHook, GuardedOptimWrapper

__all__ = [
    'MIXERS',
    'DWNet',
    'FuseHook',
    'GuardedOptimWrapper',
    'SwinMLP',
    '__version__',
    'checkpoints',
    'config_path',
    'deploy',
    'get_config',
    'inferencer',
    'list_models',
    'load',
    'models',
    'ops',
]

# Where the names are that are loaded when they are asked for.
_MODULES = {
    'MIXERS': 'backbones',
    'DWNet': 'backbones',
    'FuseHook': 'engine',
    'GuardedOptimWrapper': 'engine',
    'SwinMLP': 'backbones',
    'config_path': 'apis.hub',
    'get_config': 'apis.hub',
    'inferencer': 'apis.inferencers',
    'list_models': 'apis.hub',
    'load': 'apis.predicting',
}


def __getattr__(name: str) -> object:
    """Load a name that needs more than torch."""
    if name not in __all__:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    try:
        module = import_module(f'.{_MODULES.get(name, name)}', __name__)
    except ModuleNotFoundError as error:
        raise ImportError(
            f'mmdwnet.{name} needs OpenMMLab, and {error.name} is not installed: pip install '
            "'mmdwnet[openmmlab]' (mmdwnet.ops and mmdwnet.models work without)"
        ) from error
    return getattr(module, name) if name in _MODULES else module


mmcv_ext.install()
registration.register()
