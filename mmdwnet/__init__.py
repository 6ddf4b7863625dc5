"""DWNet backbones for OpenMMLab's classifiers, detectors and segmentors.

Importing the package registers its classes in mmengine's root registries, from which mmpretrain,
mmdet and mmseg resolve them; the released weights, `dwnet://NAME`, with mmengine; and the names of
the classifiers with mmpretrain. It stands in for mmcv's compiled operators where mmcv came without
any.
"""

from . import mmcv_ext
from .version import __version__

mmcv_ext.install()

# After the operators, which mmcv may ask for.
from . import checkpoints, hub  # noqa: E402
from .hub import config_path, get_config, inferencer, list_models  # noqa: E402
from .models import DWNet, SwinMLP  # noqa: E402
from .optim import GuardedOptimWrapper  # noqa: E402

hub.register()

__all__ = [
    'DWNet',
    'GuardedOptimWrapper',
    'SwinMLP',
    '__version__',
    'checkpoints',
    'config_path',
    'get_config',
    'hub',
    'inferencer',
    'list_models',
]
