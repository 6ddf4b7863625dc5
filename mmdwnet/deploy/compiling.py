"""Compilation of the DWNet in a model for inference."""

import os
import shutil
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from mmdwnet.errors import UserError
from mmdwnet.models.dwnet import DWNet

from .fusing import FusedBlock, find_backbones, fuse, replace

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def compile(
    model: nn.Module, dtype: torch.dtype = torch.float32, dynamic: bool = False
) -> nn.Module:
    """Fuse each DWNet in a copy of a model and compile it with `torch.compile`.

    Necks, heads and post-processing are unchanged and get maps in the dtype of the images, whatever
    the `dtype` of the DWNet. Weights become constants of the compiled program: loading others into
    the model afterwards has no effect.

    Args:
        model: A DWNet, or a module that contains one, for example a detector, in evaluation mode.
        dtype: Dtype of the DWNet: torch.float32, bfloat16 or float16.
        dynamic: Whether to compile once for all image sizes instead of once for each.

    Returns:
        The compiled model, for inference. It is compiled in the first call or, without `dynamic`,
        in the first call with each image size. The program is faster without `dynamic`, but torch
        compiles only for `torch._dynamo.config.recompile_limit` sizes and runs others uncompiled.

    Raises:
        UserError: `fuse` raises it, `dtype` is not supported, or the model is on the CPU and there
            is no C++ compiler.
    """
    if dtype not in DTYPES:
        raise UserError(f'compile() got dtype={dtype}: give one of {", ".join(map(str, DTYPES))}')
    model = fuse(model)
    if next(model.parameters()).device.type == 'cpu':
        check_cpp_compiler()
    compiled: dict[nn.Module, nn.Module] = {
        backbone: CompiledBackbone(backbone, dtype, dynamic) for backbone in find_backbones(model)
    }
    return replace(model, compiled, inplace=True)


def check_cpp_compiler() -> str:
    """Return the C++ compiler, which torch.compile needs on the CPU.

    Raises:
        UserError: There is none.
    """
    compiler = os.environ.get('CXX', 'g++')
    if shutil.which(compiler) is None:
        raise UserError(
            f'torch.compile needs a C++ compiler on the CPU, and there is no {compiler}: install '
            'it, or name another in the environment variable CXX'
        )
    return compiler


class CompiledBackbone(nn.Module):
    """Compiled DWNet with its own dtype.

    Args:
        backbone: The fused DWNet.
        dtype: Dtype to compute in.
        dynamic: Whether to compile once for all image sizes.
    """

    def __init__(self, backbone: DWNet, dtype: torch.dtype, dynamic: bool) -> None:
        super().__init__()
        self.backbone = backbone.to(dtype)
        self.dtype = dtype
        self.dynamic = dynamic
        if dynamic:
            # Compile block by block, with symbolic height and width for each. In the whole network
            # they are nested roundings of the image size, which torch takes minutes to analyze.
            for block in backbone.modules():
                if isinstance(block, FusedBlock):
                    block.compile(dynamic=True)
        else:
            backbone.compile(dynamic=False)

    @torch.no_grad()
    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute feature maps in the dtype of the images."""
        # oneDNN's operators with packed weights do not support dynamic sizes of 1.
        with nullcontext() if self.dynamic else weights_as_constants():
            return tuple(out.to(x.dtype) for out in self.backbone(x.to(self.dtype)))


def weights_as_constants() -> AbstractContextManager[None]:
    """Return a context in which compiled programs treat weights as constants.

    On the CPU, weights are then packed for oneDNN, and activations and residuals are fused into its
    operators. torch has no public setting for this: the `options` of `torch.compile` reach the
    compiler, but not the tracing before it.
    """
    from torch._inductor import config

    return config.patch(freezing=True)
