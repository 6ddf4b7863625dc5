"""The networks, of torch and torchvision alone."""

from .dwnet import DWNet
from .swin_mlp import SwinMLP

__all__ = ['DWNet', 'SwinMLP']
