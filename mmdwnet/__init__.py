"""DWNet backbones for OpenMMLab's classifiers, detectors and segmentors.

Importing the package registers its classes in mmengine's root registries, from which mmpretrain,
mmdet and mmseg resolve them; the released weights, `dwnet://NAME`, with mmengine; and the names of
the classifiers with mmpretrain. It stands in for mmcv's compiled operators where mmcv came without
any. Without OpenMMLab there is nothing to register with: only `mmdwnet.ops`, which needs torch
alone.
"""

from importlib.util import find_spec

from .version import __version__

__all__ = [
    'DWNet',
    'FuseHook',
    'GuardedOptimWrapper',
    'SwinMLP',
    '__version__',
    'checkpoints',
    'config_path',
    'deploy',
    'get_config',
    'hub',
    'inferencer',
    'list_models',
]

if find_spec('mmengine') and find_spec('mmcv'):
    from . import mmcv_ext

    mmcv_ext.install()

    # After the operators, which mmcv may ask for.
    from . import checkpoints, deploy
    from .apis import hub
    from .apis.hub import config_path, get_config, list_models
    from .apis.inferencers import inferencer
    from .engine import FuseHook, GuardedOptimWrapper
    from .models import DWNet, SwinMLP

    hub.register()
else:

    def __getattr__(name: str) -> object:
        """Tell what a missing name needs."""
        if name in __all__:
            raise ImportError(
                f'mmdwnet.{name} needs OpenMMLab, which this environment lacks: install mmdwnet '
                'with its requirements (mmdwnet.ops works without)'
            )
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
