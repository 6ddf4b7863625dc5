"""mmcv's operators on torchvision's and torch's: the contents of the stand-in for `mmcv._ext`.

Each operator takes the arguments of its compiled namesake, in the same order and with the names
that mmcv gives, and writes into the same output tensors. Unlike those it takes any floating-point
dtype, or a mix (half precision is computed in float32), any memory format, and any device. One file
per theme:

| file               | operators                                                            |
|--------------------|----------------------------------------------------------------------|
| `suppression.py`   | NMS of boxes and of lanes                                            |
| `regions.py`       | RoIAlign, RoIPool, deformable RoI pooling                            |
| `deform_conv.py`   | deformable convolution                                               |
| `masked_conv.py`   | convolution at chosen positions                                      |
| `carafe.py`        | upsampling with a kernel for each pixel                              |
| `attention.py`     | multi-scale deformable attention, the masks of point-wise attention  |
| `normalization.py` | synchronized batch normalization                                     |
| `losses.py`        | focal loss                                                           |
| `computing.py`     | what they share                                                      |
| `missing.py`       | what stands in for all others                                        |
"""

import torch
import torchvision

from .attention import (
    ms_deform_attn_backward,
    ms_deform_attn_forward,
    psamask_backward,
    psamask_forward,
)
from .carafe import (
    carafe_backward,
    carafe_forward,
    carafe_naive_backward,
    carafe_naive_forward,
)
from .deform_conv import (
    deform_conv_backward_input,
    deform_conv_backward_parameters,
    deform_conv_forward,
    modulated_deform_conv_backward,
    modulated_deform_conv_forward,
)
from .losses import sigmoid_focal_loss_backward, sigmoid_focal_loss_forward
from .masked_conv import masked_col2im_forward, masked_im2col_forward
from .normalization import (
    sync_bn_backward_data,
    sync_bn_backward_param,
    sync_bn_forward_mean,
    sync_bn_forward_output,
    sync_bn_forward_var,
)
from .regions import (
    deform_roi_pool_backward,
    deform_roi_pool_forward,
    roi_align_backward,
    roi_align_forward,
    roi_pool_backward,
    roi_pool_forward,
)
from .suppression import line_nms_forward, nms, nms_match, softnms

__all__ = [
    'carafe_backward',
    'carafe_forward',
    'carafe_naive_backward',
    'carafe_naive_forward',
    'deform_conv_backward_input',
    'deform_conv_backward_parameters',
    'deform_conv_forward',
    'deform_roi_pool_backward',
    'deform_roi_pool_forward',
    'get_compiler_version',
    'get_compiling_cuda_version',
    'line_nms_forward',
    'masked_col2im_forward',
    'masked_im2col_forward',
    'modulated_deform_conv_backward',
    'modulated_deform_conv_forward',
    'ms_deform_attn_backward',
    'ms_deform_attn_forward',
    'nms',
    'nms_match',
    'psamask_backward',
    'psamask_forward',
    'roi_align_backward',
    'roi_align_forward',
    'roi_pool_backward',
    'roi_pool_forward',
    'sigmoid_focal_loss_backward',
    'sigmoid_focal_loss_forward',
    'softnms',
    'sync_bn_backward_data',
    'sync_bn_backward_param',
    'sync_bn_forward_mean',
    'sync_bn_forward_output',
    'sync_bn_forward_var',
]


def get_compiler_version() -> str:
    """Return what environment reports show in place of the compiler."""
    return f'mmdwnet stands in for them, on torchvision {torchvision.__version__}'


def get_compiling_cuda_version() -> str:
    """Return the CUDA version that torch and torchvision's operators were compiled with."""
    return torch.version.cuda or 'not available'
