"""Compiles the DWNet of a model for inference."""

import os
import shutil
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from mmdwnet.errors import UserError
from mmdwnet.models.dwnet import DWNet

from .fusing import find_backbones, fuse, replace

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def compile(
    model: nn.Module, dtype: torch.dtype = torch.float32, dynamic: bool = False
) -> nn.Module:
    """Fuse each DWNet in a copy of a model, and compile it with `torch.compile`.

    The rest of the model stays as it is, necks, heads and post-processing, and sees maps of the
    dtype of the images, whatever `dtype` the DWNet computes in. Weights become constants of the
    program: what is loaded into the model afterwards has no effect.

    Args:
        model: A DWNet, or a classifier, detector, segmentor or any other module with one in it, in
            evaluation mode.
        dtype: What the DWNet computes in: torch.float32, bfloat16 or float16.
        dynamic: Whether to compile once for all sizes of images, instead of for each size
            that comes.

    Returns:
        The compiled model, for inference. The first call, and without `dynamic` the first with each
        size, takes the time of the compilation. Without `dynamic` the program is the quicker one,
        but torch makes no more than `torch._dynamo.config.recompile_limit` of them, and runs
        further sizes uncompiled.

    Raises:
        UserError: As for `fuse`; or if `dtype` is none of the three, or the model is on the CPU and
            there is no C++ compiler.
    """
    if dtype not in DTYPES:
        raise UserError(f'compile() got dtype={dtype}: give one of {", ".join(map(str, DTYPES))}')
    model = fuse(model)
    compiler = os.environ.get('CXX', 'g++')
    if next(model.parameters()).device.type == 'cpu' and shutil.which(compiler) is None:
        raise UserError(
            f'compile() needs a C++ compiler on the CPU, and there is no {compiler}: install it, '
            'or name another in the environment variable CXX'
        )
    compiled = {
        backbone: CompiledBackbone(backbone, dtype, dynamic) for backbone in find_backbones(model)
    }
    return replace(model, compiled, inplace=True)


class CompiledBackbone(nn.Module):
    """A DWNet that runs compiled, in a dtype of its own.

    Args:
        backbone: The DWNet, fused.
        dtype: What it computes in.
        dynamic: Whether to compile once for all sizes of images.
    """

    def __init__(self, backbone: DWNet, dtype: torch.dtype, dynamic: bool) -> None:
        super().__init__()
        self.backbone = backbone.to(dtype)
        self.dtype = dtype
        self.dynamic = dynamic
        if dynamic:
            # Block by block: a block's map has any height and width. In the whole network they are
            # roundings of roundings of the image's, which torch takes minutes to reason about.
            for stage in backbone.layers:
                for block in stage.blocks:
                    block.compile(dynamic=True)
        else:
            backbone.compile(dynamic=False)

    @torch.no_grad()
    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute feature maps of images, both of one dtype."""
        # oneDNN's products with packed weights do not take dynamic sides that are 1.
        with nullcontext() if self.dynamic else weights_as_constants():
            return tuple(out.to(x.dtype) for out in self.backbone(x.to(self.dtype)))


def weights_as_constants() -> AbstractContextManager[None]:
    """Have what is compiled and run in this context take weights for constants.

    On the CPU they are then packed as oneDNN's products read them, and activations and residuals
    become part of these products. torch has no public setting for it: `torch.compile`'s `options`
    reach the compiler, but not the tracing before it.
    """
    from torch._inductor import config

    return config.patch(freezing=True)
