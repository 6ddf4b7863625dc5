"""Trained models made ready for inference."""

from .fusing import fuse
from .hook import FuseHook

__all__ = ['FuseHook', 'fuse']
