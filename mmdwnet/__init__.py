"""DWNet backbones for OpenMMLab's classifiers, detectors and segmentors.

Importing the package registers `DWNet` in mmengine's root registry, from which mmpretrain, mmdet
and mmseg resolve it, and stands in for mmcv's compiled operators where mmcv came without any.
Without mmengine there is nothing to register with: only `mmdwnet.ops`, which needs torch alone.
"""

from importlib.util import find_spec

from .version import __version__

__all__ = ['__version__']

if find_spec('mmengine') is not None:
    from . import mmcv_ext

    mmcv_ext.install()

    from .models import DWNet  # after the operators, which mmcv may ask for

    __all__ += ['DWNet']
else:

    def __getattr__(name: str) -> object:
        """Tell what a missing `DWNet` needs."""
        if name == 'DWNet':
            raise ImportError(
                'mmdwnet.DWNet needs OpenMMLab, which this environment lacks: install mmdwnet with '
                'its requirements (mmdwnet.ops works without)'
            )
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
