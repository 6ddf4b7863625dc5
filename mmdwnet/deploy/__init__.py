"""Preparation of trained models for inference."""

from .compiling import compile
from .fusing import fuse

__all__ = ['compile', 'fuse']
