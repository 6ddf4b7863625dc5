"""Folds the BNs of a DWNet into the layers beside them.

In evaluation a BN is `scale * x + shift` for each channel, which the linear map before or after it
can take up:

| BN                                            | goes into                                      |
|-----------------------------------------------|------------------------------------------------|
| after a convolution, a predictor's as well    | that convolution                               |
| after the static mixer                        | its kernels and bias                           |
| after the dynamic mixer                       | the layer that predicts its kernels, its bias  |
| after the inhomogeneous mixer                 | its operator's scale and bias: a group of      |
|                                               | channels shares kernels, but not a scale       |
| before the feed-forward                       | its first linear layer                         |
| of an output                                  | nothing follows: it stays a scale and a shift  |
"""

from collections.abc import Iterator
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mmdwnet.errors import UserError
from mmdwnet.models.dwnet import DWBlock, DWNet, MixingBranch
from mmdwnet.models.maps import pad_to_multiple
from mmdwnet.models.mixers import DynamicMixer, InhomogeneousMixer, StaticMixer


@torch.no_grad()
def fuse(model: nn.Module, inplace: bool = False) -> nn.Module:
    """Folds every BN of each DWNet in a model away; other parts of the model stay as they are.

    Outputs are the same up to rounding. What was folded can no longer be trained, so the
    parameters of the DWNet require no gradients afterwards. Convert to bfloat16 or float16 after
    fusing, not before: the product of two rounded factors would be rounded again.

    Args:
        model: A DWNet, or a classifier, detector, segmentor or any other module with one in it, in
            evaluation mode.
        inplace: Whether to change `model` itself instead of a copy.

    Returns:
        The fused model. Of norm layers, its DWNet has LayerNorms alone.

    Raises:
        UserError: The model has no DWNet, is in training mode, or has norm layers in its DWNet that
            are no BNs with running statistics. It is unchanged then.
    """
    for backbone in _backbones(model):
        _check(backbone)
    if not inplace:
        model = deepcopy(model)
    for backbone in _backbones(model):
        for stage in backbone.layers:
            for i, block in enumerate(stage.blocks):
                if isinstance(block, DWBlock):
                    stage.blocks[i] = FusedBlock(block)
        for name, part in list(backbone.named_children()):
            if isinstance(part, _BatchNorm):
                setattr(backbone, name, ChannelAffine(part))
        backbone.eval().requires_grad_(False)
    return model


class FusedBlock(nn.Module):
    """A block of a DWNet without its BNs.

    Args:
        block: The block; parts of it are taken over.
    """

    def __init__(self, block: DWBlock) -> None:
        super().__init__()
        self.attn2conv = FusedBranch(block.attn2conv)
        self.mlp = block.mlp
        scale, shift = _scale_and_shift(block.bn)
        linear = self.mlp.fc1
        linear.bias.data = linear.bias + linear.weight @ shift
        linear.weight.data = linear.weight * scale

    def forward(self, x: Tensor) -> Tensor:
        """Transform (N, C, H, W) to (N, C, H, W)."""
        x = self.attn2conv(x) + x
        # In place, as no backward pass will ask for what the GELU was applied to.
        return x + self.mlp.fc2(torch.ops.aten.gelu_(self.mlp.fc1(x)))


class FusedBranch(nn.Module):
    """A mixing branch without its BNs.

    Args:
        branch: The branch; parts of it are taken over.
    """

    def __init__(self, branch: MixingBranch) -> None:
        super().__init__()
        self.multiple = branch.multiple
        self.conv0 = fuse_conv_bn_eval(branch.conv0, branch.bn0)
        self.conv = branch.conv
        self.conv2 = fuse_conv_bn_eval(branch.conv2, branch.bn2)
        if isinstance(self.conv, InhomogeneousMixer):
            convolution, norm, relu = self.conv.conv1
            assert isinstance(convolution, nn.Conv2d) and isinstance(norm, _BatchNorm)
            self.conv.conv1 = nn.Sequential(fuse_conv_bn_eval(convolution, norm), relu)
            self.conv.scale, self.conv.bias = _scale_and_shift(branch.bn)
        elif isinstance(self.conv, DynamicMixer):
            _fuse_dynamic(self.conv, branch.bn)
        else:
            assert isinstance(self.conv, StaticMixer)
            self.conv = fuse_conv_bn_eval(self.conv, branch.bn)

    def forward(self, x: Tensor) -> Tensor:
        """Mix positions and channels: (N, C, H, W) to (N, C, H, W)."""
        h, w = x.shape[-2:]
        x = self.conv0(pad_to_multiple(x, self.multiple)).relu_()
        return self.conv2(self.conv(x, relu=True))[..., :h, :w]


class ChannelAffine(nn.Module):
    """What a BN does in evaluation.

    Args:
        norm: The BN.
    """

    def __init__(self, norm: _BatchNorm) -> None:
        super().__init__()
        scale, shift = _scale_and_shift(norm)
        self.scale: Tensor
        self.shift: Tensor
        self.register_buffer('scale', scale[:, None, None])
        self.register_buffer('shift', shift[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        """Scale and shift the channels of (N, C, H, W)."""
        return torch.addcmul(self.shift, x, self.scale)


def _fuse_dynamic(mixer: DynamicMixer, norm: _BatchNorm) -> None:
    """Folds the BN in the predictor, and the one after the product."""
    mixer.conv1 = fuse_conv_bn_eval(mixer.conv1, mixer.bn)
    mixer.bn = nn.Identity()
    scale, shift = _scale_and_shift(norm)
    assert mixer.conv2.bias is not None
    # The predictor's rows are channel by channel, each with k * k taps.
    rows = scale.repeat_interleave(mixer.kernel_size**2)
    mixer.conv2.weight.data = mixer.conv2.weight * rows[:, None, None, None]
    mixer.conv2.bias.data = mixer.conv2.bias * rows
    mixer.bias.data = mixer.bias * scale + shift


def _scale_and_shift(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """Returns what a BN multiplies each channel by, and what it adds, (C,) each."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = torch.rsqrt(norm.running_var + norm.eps)
    if norm.weight is not None:
        scale = scale * norm.weight
    shift = -norm.running_mean * scale
    return scale, shift if norm.bias is None else shift + norm.bias


def _backbones(model: nn.Module) -> list[DWNet]:
    found = [module for module in model.modules() if isinstance(module, DWNet)]
    if not found:
        raise UserError(
            f'{type(model).__name__} has no DWNet, the only one whose BNs fuse() knows how to fold '
            'away: give a DWNet, or a model with one as its backbone'
        )
    return found


def _check(backbone: DWNet) -> None:
    """Refuses what cannot be folded."""
    if any(module.training for module in backbone.modules()):
        raise UserError(
            'the DWNet is in training mode, where BNs go by the batch: call model.eval() before '
            'fuse()'
        )
    for norm in _norms(backbone):
        if not isinstance(norm, _BatchNorm):
            raise UserError(
                f'the DWNet has {type(norm).__name__} for its norm layers, which goes by the image '
                "and cannot be folded away: only norm_cfg=dict(type='BN') and its relatives can be"
            )
        if norm.running_mean is None:
            raise UserError(
                'the DWNet has BNs without running statistics, which go by the batch and cannot be '
                'folded away: build it without track_running_stats=False'
            )


def _norms(backbone: DWNet) -> Iterator[nn.Module]:
    """Yields all norm layers that fold away."""
    for block in backbone.modules():
        if isinstance(block, DWBlock):
            branch = block.attn2conv
            yield from (branch.bn0, branch.bn, branch.bn2, block.bn)
            if isinstance(branch.conv, DynamicMixer):
                yield branch.conv.bn
            elif isinstance(branch.conv, InhomogeneousMixer):
                yield branch.conv.conv1[1]
    for name, part in backbone.named_children():
        if name.startswith('norm') and not isinstance(part, (nn.LayerNorm, ChannelAffine)):
            yield part
