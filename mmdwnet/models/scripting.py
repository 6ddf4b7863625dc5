"""The networks in the part of Python that TorchScript compiles.

What makes them fast is outside of it: kernels and memory formats chosen in Python, operators with
gradients of their own, results that the backward pass computes again. Here the same is computed by
torch's own functions.
"""

from copy import deepcopy

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from .dwnet import DWBlock, MixingBranch
from .feed_forward import FeedForward, PositionwiseConv2d, PositionwiseLinear
from .maps import LayerNorm2d, missing, nchw, nhwc
from .mixers import DynamicMixer, InhomogeneousMixer, StaticMixer
from .swin_design import PatchEmbed, PatchMerging, Stage
from .swin_mlp import SpatialMLP, SwinMLPBlock


def scriptable(network: nn.Module) -> nn.Module:
    """Return a copy of a network that TorchScript compiles, with the same parameters and buffers.

    Args:
        network: Its own `forward`, and those of custom mixers, are left as they are.

    Returns:
        The copy. It does not save memory in the backward pass.
    """
    shared = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    network = deepcopy(network, shared)
    for module in network.modules():
        module.__class__ = _PLAIN.get(type(module), type(module))
    return network


def _pad(x: Tensor, multiple: int) -> Tensor:
    return F.pad(x, [0, missing(x.shape[-1], multiple), 0, missing(x.shape[-2], multiple)])


class _LayerNorm2d(LayerNorm2d):
    def forward(self, input: Tensor) -> Tensor:
        shape, weight, bias = self.normalized_shape, self.weight, self.bias
        return nchw(F.layer_norm(nhwc(input), shape, weight, bias, self.eps))


class _PositionwiseLinear(PositionwiseLinear):
    def forward(self, input: Tensor) -> Tensor:
        return nchw(F.linear(nhwc(input), self.weight, self.bias))


class _DynamicMixer(DynamicMixer):
    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        k, images = self.kernel_size, x.reshape(1, n * c, h, w)
        hidden = self.relu(self.bn(self.conv1(x.mean((2, 3), keepdim=True))))
        weight, bias = self.conv2(hidden).view(n * c, 1, k, k), self.bias.repeat(n)
        return F.conv2d(images, weight, bias, padding=k // 2, groups=n * c).view(n, c, h, w)


class _InhomogeneousMixer(InhomogeneousMixer):
    def forward(self, x: Tensor) -> Tensor:
        h, w, k = x.shape[-2], x.shape[-1], self.kernel_size
        weight = self.conv2(self.conv1(x)).unflatten(1, [self.groups, 1, k, k])
        x = F.pad(x, [k // 2] * 4).unflatten(1, [self.groups, -1])
        out = torch.zeros_like(x[..., :h, :w])
        for i in range(k):
            for j in range(k):
                out = out + x[..., i : i + h, j : j + w] * weight[:, :, :, i, j]
        return out.flatten(1, 2)


class _MixingBranch(MixingBranch):
    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[-2], x.shape[-1]
        x = self.relu(self.bn0(self.conv0(_pad(x, self.multiple))))
        x = self.relu(self.bn(self.conv(x)))
        return self.bn2(self.conv2(x))[..., :h, :w]


class _DWBlock(DWBlock):
    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn2conv(x))
        return x + self.drop_path(self.mlp(self.bn(x)))


class _SpatialMLP(SpatialMLP):
    def forward(self, x: Tensor) -> Tensor:
        n, h, w, c = x.shape
        heads, k, offset = self.groups, self.window_size, self.offset
        bottom, right = missing(offset + h, k), missing(offset + w, k)
        x = F.pad(x, [0, 0, offset, right, offset, bottom])
        rows, columns = x.shape[1] // k, x.shape[2] // k
        x = x.reshape(n, rows, k, columns, k, heads, c // heads).permute(0, 1, 3, 5, 2, 4, 6)
        x = x.reshape(n * rows * columns, heads * k * k, c // heads)
        x = F.conv1d(x, self.weight, self.bias, groups=heads)
        x = x.view(n, rows, columns, heads, k, k, c // heads).permute(0, 1, 4, 2, 5, 3, 6)
        x = x.reshape(n, rows * k, columns * k, c)
        return x[:, offset : offset + h, offset : offset + w]


class _SwinMLPBlock(SwinMLPBlock):
    def forward(self, x: Tensor) -> Tensor:
        x = nhwc(x)
        x = x + self.drop_path(self.spatial_mlp(self.norm1(x)))
        return nchw(x) + self.drop_path(self.mlp(nchw(self.norm2(x))))


class _PatchEmbed(PatchEmbed):
    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.proj(_pad(x, self.proj.stride[0])))


class _PatchMerging(PatchMerging):
    def forward(self, x: Tensor) -> Tensor:
        x = nhwc(_pad(x, 2))
        left, right = x[:, :, ::2], x[:, :, 1::2]
        x = torch.cat([left[:, ::2], left[:, 1::2], right[:, ::2], right[:, 1::2]], dim=-1)
        return self.reduction(nchw(self.norm(x)))


class _Stage(Stage):
    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


# What computes the same as a class with its attributes.
_PLAIN: dict[type, type] = {
    PositionwiseConv2d: nn.Conv2d,
    StaticMixer: nn.Conv2d,
    FeedForward: nn.Sequential,
    **{
        kind.mro()[1]: kind
        for kind in (
            _LayerNorm2d,
            _PositionwiseLinear,
            _DynamicMixer,
            _InhomogeneousMixer,
            _MixingBranch,
            _DWBlock,
            _SpatialMLP,
            _SwinMLPBlock,
            _PatchEmbed,
            _PatchMerging,
            _Stage,
        )
    },
}
