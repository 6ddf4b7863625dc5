"""The released weights: reading foreign files, the authors' layouts, and `dwnet://NAME`."""

from .loading import as_data, load
from .releases import RELEASES

__all__ = ['RELEASES', 'as_data', 'load']
