"""Trained models made ready for inference."""

from .compiling import compile
from .fusing import fuse

__all__ = ['compile', 'fuse']
