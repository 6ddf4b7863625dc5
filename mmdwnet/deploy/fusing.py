"""Folds the BNs of a DWNet into the layers beside them.

In evaluation mode a BN is `scale * x + shift` for each channel, which the linear map before or
after it can take up:

| BN                                     | goes into                                             |
|----------------------------------------|-------------------------------------------------------|
| after a 1x1 convolution                | that convolution                                      |
| after the mixer, and inside it         | the mixer, by its own `fuse`; one without it is       |
|                                        | followed by a scale and a shift                       |
| before the feed-forward                | its first linear layer                                |
| of an output                           | nothing follows: it becomes a scale and a shift       |
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mmdwnet.errors import UserError
from mmdwnet.models.dwnet import DWBlock, DWNet, MixingBranch
from mmdwnet.models.maps import LayerNorm2d, pad_to_multiple
from mmdwnet.models.mixers import scale_and_shift


@torch.no_grad()
def fuse(model: nn.Module, inplace: bool = False) -> nn.Module:
    """Fold every BN of each DWNet in a model away; other parts of the model stay as they are.

    Outputs are the same up to rounding. What was folded can no longer be trained, so the
    parameters of the DWNet require no gradients afterwards. Convert to bfloat16 or float16 after
    fusing, not before: the product of two rounded factors would be rounded again.

    Args:
        model: A DWNet, or a classifier, detector, segmentor or any other module with one in it, in
            evaluation mode.
        inplace: Whether to change `model` itself instead of a copy.

    Returns:
        The fused model. BNs are left only where a mixer without a `fuse` has them inside.

    Raises:
        UserError: The model has no DWNet, is in training mode, or has norm layers in its DWNet
            other than BNs with running statistics. It is unchanged then, as it is if a mixer's
            `fuse` raises an error.
    """
    backbones = find_backbones(model)
    for backbone in backbones:
        _check(backbone)
    fused: dict[nn.Module, nn.Module] = {}
    for backbone in backbones:
        for part in backbone.modules():
            if isinstance(part, DWBlock):
                fused[part] = FusedBlock(deepcopy(part))
        for part in backbone.children():
            if isinstance(part, _BatchNorm):
                fused[part] = ChannelAffine(part)
    model = replace(model, fused, inplace)
    for backbone in find_backbones(model):
        backbone.eval().requires_grad_(False)
    return model


def replace(
    model: nn.Module, others: Mapping[nn.Module, nn.Module], inplace: bool = False
) -> nn.Module:
    """Replace parts of a model, wherever the model has them.

    Args:
        model: The model.
        others: What takes the place of each part.
        inplace: Whether to change `model` itself instead of a copy.

    Returns:
        The model, or what takes its place.
    """
    if not inplace:
        return deepcopy(model, {id(part): other for part, other in others.items()})
    for name, part in list(model.named_modules(remove_duplicate=False)):
        if name and part in others:
            model.set_submodule(name, others[part])
    return others.get(model, model)


def find_backbones(model: nn.Module) -> list[DWNet]:
    """Find the DWNets in a model.

    Args:
        model: The model.

    Returns:
        The DWNets, at least one.

    Raises:
        UserError: There is none.
    """
    found = [module for module in model.modules() if isinstance(module, DWNet)]
    if not found:
        raise UserError(
            f'{type(model).__name__} has no DWNet, and only the BNs of a DWNet can be folded away: '
            'give a DWNet, or a model with one as its backbone'
        )
    return found


class FusedBlock(nn.Module):
    """A block of a DWNet without its BNs.

    Args:
        block: The block; its parts are changed and taken over.
    """

    def __init__(self, block: DWBlock) -> None:
        super().__init__()
        self.attn2conv = FusedBranch(block.attn2conv)
        self.mlp = block.mlp
        scale, shift = scale_and_shift(block.bn)
        linear = self.mlp.fc1
        linear.bias.data = linear.bias + linear.weight @ shift
        linear.weight.data = linear.weight * scale

    def forward(self, x: Tensor) -> Tensor:
        """Transform (N, C, H, W) to (N, C, H, W)."""
        x = self.attn2conv(x) + x
        hidden, act = self.mlp.fc1(x), self.mlp.act
        if isinstance(act, nn.GELU):
            # In place, as no backward pass will ask for what it was applied to.
            hidden = torch.ops.aten.gelu_(hidden, approximate=act.approximate)
        else:
            hidden = act(hidden)
        return x + self.mlp.fc2(hidden)


class FusedBranch(nn.Module):
    """A mixing branch without its BNs.

    Args:
        branch: The branch; its parts are changed and taken over.
    """

    def __init__(self, branch: MixingBranch) -> None:
        super().__init__()
        self.multiple = branch.multiple
        self.conv0 = fuse_conv_bn_eval(branch.conv0, branch.bn0)
        self.conv = branch.conv
        self.conv2 = fuse_conv_bn_eval(branch.conv2, branch.bn2)
        rectified = False
        self.bn: nn.Module = nn.Identity()
        if hasattr(self.conv, 'fuse'):
            rectified = self.conv.fuse(branch.bn)
        else:
            self.bn = ChannelAffine(branch.bn)
        self.relu = nn.Identity() if rectified else branch.relu

    def forward(self, x: Tensor) -> Tensor:
        """Mix positions and channels: (N, C, H, W) to (N, C, H, W)."""
        h, w = x.shape[-2:]
        x = self.conv0(pad_to_multiple(x, self.multiple)).relu_()
        return self.conv2(self.relu(self.bn(self.conv(x))))[..., :h, :w]


class ChannelAffine(nn.Module):
    """What a BN does in evaluation mode.

    Args:
        norm: The BN.
    """

    def __init__(self, norm: _BatchNorm) -> None:
        super().__init__()
        scale, shift = scale_and_shift(norm)
        self.scale: Tensor
        self.shift: Tensor
        self.register_buffer('scale', scale[:, None, None])
        self.register_buffer('shift', shift[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        """Scale and shift the channels of (N, C, H, W)."""
        return torch.addcmul(self.shift, x, self.scale)


def _check(backbone: DWNet) -> None:
    """Refuse what cannot be folded."""
    if any(module.training for module in backbone.modules()):
        raise UserError(
            'the DWNet is in training mode, where BNs normalize by the batch: call model.eval() '
            'before fuse()'
        )
    for norm in _norms(backbone):
        if not isinstance(norm, _BatchNorm):
            raise UserError(
                f'the DWNet has {type(norm).__name__} for its norm layers, which normalizes by the '
                "image and cannot be folded away: only norm_cfg=dict(type='BN') and its relatives "
                'can'
            )
        if norm.running_mean is None:
            raise UserError(
                'the DWNet has BNs without running statistics, which normalize by the batch and '
                'cannot be folded away: build it without track_running_stats=False'
            )


def _norms(backbone: DWNet) -> Iterator[nn.Module]:
    """Yield all norm layers that fold away, but those inside mixers, which have them alike."""
    for block in backbone.modules():
        if isinstance(block, DWBlock):
            branch = block.attn2conv
            yield from (branch.bn0, branch.bn, branch.bn2, block.bn)
    for name, part in backbone.named_children():
        if name.startswith('norm') and not isinstance(part, (LayerNorm2d, ChannelAffine)):
            yield part
