"""Depth-wise products: one kernel per channel, per image, or per image and position.

Usable on its own: it needs only torch, and Triton for the kernels on CUDA. One file per theme:

| file            | what is in it                                                     |
|-----------------|-------------------------------------------------------------------|
| `functional.py` | the public functions: their contract, and the choice of a backend |
| `modules.py`    | the same as modules                                               |
| `library.py`    | the operators that torch knows: shapes, gradients, FLOPs          |
| `plain.py`      | backend 'torch': differentiable torch functions                   |
| `cpu.py`        | backend 'cpu': the fastest compositions of torch's CPU kernels    |
| `cuda.py`       | backend 'triton': launches the kernels of `kernels.py`            |
"""

from .functional import (
    depthwise_conv2d,
    dynamic_depthwise_conv2d,
    idynamic,
    inhomogeneous_depthwise_conv2d,
)
from .modules import DepthwiseConv2d, DynamicDepthwiseConv2d, InhomogeneousDepthwiseConv2d

__all__ = [
    'DepthwiseConv2d',
    'DynamicDepthwiseConv2d',
    'InhomogeneousDepthwiseConv2d',
    'depthwise_conv2d',
    'dynamic_depthwise_conv2d',
    'idynamic',
    'inhomogeneous_depthwise_conv2d',
]
