"""DWNet backbones for OpenMMLab's classifiers, detectors and segmentors.

Importing the package registers `DWNet` in mmengine's root registry, from which mmpretrain, mmdet
and mmseg resolve it, and stands in for mmcv's compiled operators where mmcv came without any.
"""

from . import mmcv_ext
from .version import __version__

mmcv_ext.install()

from .models import DWNet  # noqa: E402  # after the operators, which mmcv may ask for

__all__ = ['DWNet', '__version__']
