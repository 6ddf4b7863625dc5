"""Backbones, registered in mmengine's root registry."""

from .dwnet import DWNet
from .swin_mlp import SwinMLP

__all__ = ['DWNet', 'SwinMLP']
