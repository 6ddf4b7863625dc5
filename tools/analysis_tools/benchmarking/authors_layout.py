"""DWNet in the memory layout of the authors' code, as a baseline for timing.

Between branches, activations are tokens (N, L, C); each mixing branch copies them to NCHW memory,
runs there, and copies its output back. Tokens have the memory of a channels-last map, so they are
represented as one here, and embedding, patch merging and norms are shared with DWNet. If the
authors' code allows several implementations, the baseline uses the fastest: the BN before the
feed-forward branch reads the tokens without another copy.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mmdwnet.errors import UserError
from mmdwnet.models.dwnet import DWBlock
from mmdwnet.models.maps import nchw, nhwc, pad_to_multiple
from mmdwnet.models.mixers import StaticMixer


class AuthorsBlock(nn.Module):
    """DWNet block in the authors' layout, with the modules and names of the given block.

    Args:
        block: A block with a static mixer.
    """

    def __init__(self, block: DWBlock) -> None:
        super().__init__()
        self.attn2conv = block.attn2conv
        for name in ('conv0', 'conv2'):
            # torch's convolution, whatever product the layer itself would choose.
            weight = self.attn2conv.get_parameter(f'{name}.weight')
            plain = nn.Conv2d(weight.shape[1], weight.shape[0], 1, bias=False)
            plain.weight = weight
            self.attn2conv.set_submodule(name, plain)
        self.bn = block.bn
        self.mlp = block.mlp
        self.drop_path = block.drop_path

    def forward(self, x: Tensor) -> Tensor:
        """Transform (N, C, H, W) to (N, C, H, W), both in channels-last memory."""
        h, w = x.shape[-2:]
        parts = self.attn2conv
        y = pad_to_multiple(x.contiguous(), parts.multiple)
        y = parts.relu(parts.bn0(parts.conv0(y)))
        # Use torch's convolution, not the mixer's own.
        weight, bias = (parts.conv.get_parameter(name) for name in ('weight', 'bias'))
        y = F.conv2d(y, weight, bias, padding=weight.shape[-1] // 2, groups=len(weight))
        y = parts.bn2(parts.conv2(parts.relu(parts.bn(y))))[..., :h, :w]
        x = x + self.drop_path(y.contiguous(memory_format=torch.channels_last))
        # Use torch's linear layers, likewise.
        y = F.gelu(F.linear(nhwc(self.bn(x)), self.mlp.fc1.weight, self.mlp.fc1.bias))
        return x + self.drop_path(nchw(F.linear(y, self.mlp.fc2.weight, self.mlp.fc2.bias)))


def to_authors_layout(model: nn.Module) -> nn.Module:
    """Convert the blocks of a DWNet to the authors' layout; state dict and outputs stay the same.

    Args:
        model: A DWNet, or a module that contains one; modified in place.

    Returns:
        `model`.

    Raises:
        UserError: The model has no DWNet, or a DWNet with other than static mixers.
    """
    blocks = {name: part for name, part in model.named_modules() if isinstance(part, DWBlock)}
    if not blocks or not all(isinstance(b.attn2conv.conv, StaticMixer) for b in blocks.values()):
        raise UserError(
            "only a DWNet with static mixers has a baseline in the authors' layout: give one, for "
            'example dwnet_tiny_nchw'
        )
    for name, block in blocks.items():
        model.set_submodule(name, AuthorsBlock(block))
    return model
