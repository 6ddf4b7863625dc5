"""The released weights: reading foreign files, the authors' layouts, and `dwnet://NAME`."""

from .releases import RELEASES

__all__ = ['RELEASES']
