"""The released weights: reading foreign files, the authors' layouts, and `dwnet://NAME`."""

from mmdwnet.released import RELEASES

from .loading import as_data, load

__all__ = ['RELEASES', 'as_data', 'load']
