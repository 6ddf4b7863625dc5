"""Backbones, registered in mmengine's root registry."""

from .dwnet import DWNet

__all__ = ['DWNet']
