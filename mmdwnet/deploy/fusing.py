"""Folding of the BNs of a DWNet into adjacent layers.

In evaluation mode, a BN is `scale * x + shift` per channel, which is folded into the linear layer
before or after it:

| BN                          | folded into                                                   |
|-----------------------------|---------------------------------------------------------------|
| after a 1x1 convolution     | that convolution                                              |
| after or inside the mixer   | the mixer, by its `fuse`; without it, a scale and shift follow |
| before the feed-forward     | its first linear layer                                        |
| of an output                | nothing; it becomes a scale and shift                         |
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmdwnet.errors import UserError
from mmdwnet.models.dwnet import DWBlock, DWNet, MixingBranch
from mmdwnet.models.maps import LayerNorm2d, pad_to_multiple
from mmdwnet.models.mixers import fold, scale_and_shift


@torch.no_grad()
def fuse(model: nn.Module, inplace: bool = False) -> nn.Module:
    """Fold the BNs of each DWNet in a model; other parts of the model are unchanged.

    Outputs are equal up to rounding. A fused DWNet can no longer be trained, and its parameters do
    not require gradients. Convert to bfloat16 or float16 after fusing, to avoid rounding twice.

    Args:
        model: A DWNet, or a module that contains one, for example a detector, in evaluation mode.
        inplace: Whether to modify `model` instead of a copy.

    Returns:
        The fused model. BNs remain only inside mixers without `fuse`.

    Raises:
        UserError: The model has no DWNet, is in training mode, or its DWNet has norm layers other
            than BNs with running statistics. The model is then unchanged, as it is if the `fuse` of
            a mixer raises an error.
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
    """Replace modules of a model wherever they occur in it."""
    if not inplace:
        return deepcopy(model, {id(part): other for part, other in others.items()})
    for name, part in list(model.named_modules(remove_duplicate=False)):
        if name and part in others:
            model.set_submodule(name, others[part])
    return others.get(model, model)


def find_backbones(model: nn.Module) -> list[DWNet]:
    """Find the DWNets in a model."""
    found = [module for module in model.modules() if isinstance(module, DWNet)]
    if not found:
        raise UserError(
            f'{type(model).__name__} has no DWNet, and only the BNs of a DWNet can be folded: '
            'give a DWNet, or a model with one as its backbone'
        )
    return found


class FusedBlock(nn.Module):
    """Block of a DWNet without BNs.

    Args:
        block: The block; its modules are modified and reused.
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
            # In place, as no backward pass needs its input.
            hidden = torch.ops.aten.gelu_(hidden, approximate=act.approximate)
        else:
            hidden = act(hidden)
        return x + self.mlp.fc2(hidden)


class FusedBranch(nn.Module):
    """Mixing branch without BNs.

    Args:
        branch: The branch; its modules are modified and reused.
    """

    def __init__(self, branch: MixingBranch) -> None:
        super().__init__()
        self.multiple = branch.multiple
        self.conv0 = fold(branch.conv0, branch.bn0)
        self.conv = branch.conv
        self.conv2 = fold(branch.conv2, branch.bn2)
        fuse_mixer = getattr(self.conv, 'fuse', None)
        rectified = fuse_mixer is not None and fuse_mixer(branch.bn)
        self.bn = nn.Identity() if fuse_mixer else ChannelAffine(branch.bn)
        self.relu = nn.Identity() if rectified else branch.relu

    def forward(self, x: Tensor) -> Tensor:
        """Mix positions and channels: (N, C, H, W) to (N, C, H, W)."""
        h, w = x.shape[-2:]
        x = self.conv0(pad_to_multiple(x, self.multiple)).relu_()
        x = self.conv2(self.relu(self.bn(self.conv(x))))
        return x if self.multiple == 1 else x[..., :h, :w]


class ChannelAffine(nn.Module):
    """Scale and shift of a BN in evaluation mode.

    Args:
        norm: The BN.
    """

    def __init__(self, norm: nn.Module) -> None:
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
    """Raise a UserError if the BNs of a DWNet cannot be folded."""
    if any(module.training for module in backbone.modules()):
        raise UserError(
            'the DWNet is in training mode, where BNs use batch statistics: call model.eval() '
            'before fuse()'
        )
    for norm in _norms(backbone):
        if not isinstance(norm, _BatchNorm):
            raise UserError(
                f'the DWNet has {type(norm).__name__} for its norm layers, which cannot be '
                "folded: only norm_cfg=dict(type='BN') and its variants can"
            )
        if norm.running_mean is None:
            raise UserError(
                'the DWNet has BNs without running statistics, which use batch statistics and '
                'cannot be folded: build it without track_running_stats=False'
            )


def _norms(backbone: DWNet) -> Iterator[nn.Module]:
    """Yield the norm layers to fold; those inside mixers are of the same type."""
    for block in backbone.modules():
        if isinstance(block, DWBlock):
            branch = block.attn2conv
            yield from (branch.bn0, branch.bn, branch.bn2, block.bn)
    for name, part in backbone.named_children():
        if name.startswith('norm') and not isinstance(part, (LayerNorm2d, ChannelAffine)):
            yield part
