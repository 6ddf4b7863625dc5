"""Trained models made ready for inference."""

from .compiling import compile
from .fusing import fuse
from .hook import FuseHook

__all__ = ['FuseHook', 'compile', 'fuse']
