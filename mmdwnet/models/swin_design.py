"""Macro design of Swin: patch embedding, four stages with patch merging in between, norms.

Liu et al., "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", ICCV 2021,
https://arxiv.org/abs/2103.14030, section 3.1. Subclasses add the blocks.

From patch embedding to last block, activations are (N, C, H, W) tensors in channels-last memory, so
linear layers read them through a permuted view without a copy.
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from mmdwnet.errors import UserError

from .feed_forward import PositionwiseLinear
from .maps import LayerNorm2d, NormLayer, nchw, nhwc, pad_to_multiple
from .recompute import checkpointed

NUM_STAGES = 4
PATCH_SIZE = 4


class PatchEmbed(nn.Module):
    """4x4 convolution of stride 4, then LayerNorm over channels.

    Args:
        in_channels: Number of image channels.
        embed_dims: Number of output channels.
    """

    def __init__(self, in_channels: int, embed_dims: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, embed_dims, PATCH_SIZE, PATCH_SIZE)
        self.norm = LayerNorm2d(embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """Embed patches: (N, C_in, H, W) to (N, C, ceil(H / 4), ceil(W / 4))."""
        x = x.contiguous(memory_format=torch.channels_last)
        return self.norm(self.proj(pad_to_multiple(x, PATCH_SIZE)))


class PatchMerging(nn.Module):
    """Merge each 2x2 neighborhood into one position: LayerNorm, linear layer to 2C channels.

    Args:
        channels: C of the input.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels)
        self.reduction = PositionwiseLinear(4 * channels, 2 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Merge patches: (N, C, H, W) to (N, 2C, ceil(H / 2), ceil(W / 2))."""
        x = nhwc(pad_to_multiple(x, 2))
        # Column by column, as in the release; unfold would go row by row.
        x = torch.cat([x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)], dim=-1)
        return self.reduction(nchw(self.norm(x)))


class Stage(nn.Module):
    """Blocks at one resolution, and the patch merging that follows them.

    Args:
        blocks: Modules from (N, C, H, W) to (N, C, H, W).
        downsample: Patch merging, or None in the last stage.
        with_cp: Whether to recompute the blocks in the backward pass.
    """

    def __init__(
        self, blocks: Iterable[nn.Module], downsample: PatchMerging | None, with_cp: bool
    ) -> None:
        super().__init__()
        self.with_cp = with_cp
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """Apply the blocks, but not the patch merging: (N, C, H, W) to (N, C, H, W)."""
        for block in self.blocks:
            x = checkpointed(block, x) if self.with_cp and x.requires_grad else block(x)
        return x


class SwinDesign(nn.Module):
    """Base class of networks with this design; subclasses implement `build_block`.

    A subclass calls `super().__init__`, sets the attributes that `build_block` needs, and calls
    `build`.

    Args:
        arch: Name of an architecture, or a dict with its values.
        named: The named architectures.
        in_channels: Number of image channels.
        out_indices: Stages (0 to 3, or negative from the end) whose maps are returned.
        drop_path_rate: Rate of the last block, increasing linearly from 0 in the first block.
        with_cp: What to recompute in the backward pass: False for nothing, True for each block,
            'selective' for its norms and activations, which the blocks implement.

    Raises:
        UserError: An argument is invalid.
    """

    def __init__(
        self,
        arch: str | dict,
        named: Mapping[str, dict],
        in_channels: int,
        out_indices: int | Sequence[int],
        drop_path_rate: float,
        with_cp: bool | str,
    ) -> None:
        super().__init__()
        owner = type(self).__name__
        self.arch = _parse_arch(owner, arch, named)
        self.out_indices = _parse_out_indices(owner, out_indices)
        if not is_count(in_channels):
            raise UserError(f'{owner} got in_channels={in_channels!r}: give a positive integer')
        if not isinstance(drop_path_rate, int | float) or not 0 <= drop_path_rate < 1:
            raise UserError(f'{owner} got drop_path_rate={drop_path_rate!r}: give 0 <= rate < 1')
        if with_cp not in (False, True, 'selective'):
            raise UserError(f"{owner} got with_cp={with_cp!r}: give False, True or 'selective'")
        self.in_channels = in_channels
        self.drop_path_rate = drop_path_rate
        self.with_cp = with_cp

    def build(self, norm_layer: NormLayer) -> None:
        """Build all layers and initialize them as in the release.

        Args:
            norm_layer: Builds the output norms, unless the last stage is the only output.
        """
        embed_dims, depths = self.arch['embed_dims'], self.arch['depths']
        last = self.out_indices[-1]
        self.patch_embed = PatchEmbed(self.in_channels, embed_dims)
        self.layers = nn.ModuleList()
        # On the CPU even if the model is built on another device, for example meta.
        rates = torch.linspace(0, self.drop_path_rate, sum(depths), device='cpu').split(depths)
        for i in range(last + 1):
            channels = embed_dims * 2**i
            blocks = [self.build_block(i, j, channels, r) for j, r in enumerate(rates[i].tolist())]
            downsample = PatchMerging(channels) if i < last else None
            self.layers.append(Stage(blocks, downsample, self.with_cp not in (False, 'selective')))
        self._classifies = self.out_indices == (NUM_STAGES - 1,)
        if self._classifies:
            self.norm = LayerNorm2d(embed_dims * 2 ** (NUM_STAGES - 1))
        else:
            for i in self.out_indices:
                self.add_module(f'norm{i}', norm_layer(embed_dims * 2**i))
        self.apply(_initialize)

    def build_block(self, stage: int, index: int, channels: int, drop_path: float) -> nn.Module:
        """Build a block; override it for other blocks.

        Args:
            stage: Index of the stage.
            index: Index of the block in its stage.
            channels: C of the (N, C, H, W) input and output.
            drop_path: Probability of dropping a branch.

        Returns:
            The block.
        """
        raise NotImplementedError

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute feature maps.

        Args:
            x: Normalized images, (N, in_channels, H, W), any size and memory format.

        Returns:
            For each index i of `out_indices`, a contiguous map (N, embed_dims * 2**i,
            ceil(H / 2**(i + 2)), ceil(W / 2**(i + 2))).

        Raises:
            UserError: `x` has a different shape.
        """
        check_images(x, type(self).__name__, self.in_channels)
        x = self.patch_embed(x)
        outs = []
        for i, layer in enumerate(self.layers):
            assert isinstance(layer, Stage)
            x = layer(x)
            if i in self.out_indices:
                norm = self.get_submodule('norm' if self._classifies else f'norm{i}')
                # Heads may ignore strides: mmcv's compiled RoIAlign does, and would silently
                # misread channels-last maps.
                outs.append(norm(x).contiguous())
            if layer.downsample is not None:
                x = layer.downsample(x)
        return tuple(outs)


def check_images(x: Tensor, owner: str, channels: int) -> None:
    """Raise a UserError unless `x` is a batch of images with this many channels."""
    if x.ndim != 4 or x.shape[1] != channels:
        raise UserError(
            f'{owner} got an input of shape {tuple(x.shape)}, but takes images as (N, {channels}, '
            f'H, W): give a batch of {channels}-channel images, or set in_channels'
        )


def drop_path_layer(rate: float) -> nn.Module:
    """Return a layer that drops a residual branch per image with probability `rate`."""
    return StochasticDepth(rate, 'row') if rate else nn.Identity()


def is_count(value: object) -> bool:
    """Return whether a value is a positive integer."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def as_tuple(value: object) -> tuple:
    """Return a list or tuple as a tuple, and anything else as the only element of one."""
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _initialize(module: nn.Module) -> None:
    """Initialize linear layers, including Conv1d, which is linear over its channels."""
    if isinstance(module, nn.Linear | nn.Conv1d):
        # The authors truncate it at 2, which is 100 standard deviations: no draw comes near.
        nn.init.normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _parse_arch(owner: str, arch: str | dict, named: Mapping[str, dict]) -> dict:
    """Return the values of an architecture, with `depths` checked and as a tuple."""
    example = next(iter(named.values()))
    *first, last = example
    keys = f'{", ".join(first)} and {last}'
    if not isinstance(arch, dict) and (not isinstance(arch, str) or arch not in named):
        raise UserError(
            f'{owner} has no arch {arch!r}: choose one of {sorted(named)}, or give a dict with '
            f'{keys}'
        )
    numbers = named[arch] if isinstance(arch, str) else arch
    if set(numbers) != set(example):
        shown = ', '.join(f'{key}={value}' for key, value in example.items())
        raise UserError(
            f'{owner} got an arch with the keys {sorted(numbers, key=str)}: give {keys}, such as '
            f'dict({shown})'
        )
    depths = as_tuple(numbers['depths'])
    if len(depths) != NUM_STAGES or not all(map(is_count, depths)):
        raise UserError(
            f'{owner} got depths={depths}: give the number of blocks, at least 1, for each of the '
            f'{NUM_STAGES} stages'
        )
    return {**numbers, 'depths': depths}


def _parse_out_indices(owner: str, out_indices: int | Sequence[int]) -> tuple[int, ...]:
    """Return `out_indices` as a sorted tuple of stages from 0 to 3."""
    given = as_tuple(out_indices)
    whole = all(isinstance(i, int) for i in given)
    indices = tuple(i + NUM_STAGES if i < 0 else i for i in given) if whole else ()
    if not indices or indices != tuple(sorted(set(indices) & set(range(NUM_STAGES)))):
        raise UserError(
            f'{owner} got out_indices={given}: give stages from 0 to {NUM_STAGES - 1}, each once '
            'and in order'
        )
    return indices
