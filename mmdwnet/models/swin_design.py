"""Swin's macro-design: patch embedding, four stages with patch merging between them, norms.

Liu et al., "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", ICCV 2021,
https://arxiv.org/abs/2103.14030, section 3.1. A backbone of this design adds its blocks.

Activations are (N, C, H, W) tensors in channels-last memory from the patch embedding to the last
block: a linear layer sees them through a permuted view, never through a copy.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule, ModuleList
from torch import Tensor, nn

from mmdwnet.errors import UserError

from .feed_forward import PositionwiseLinear
from .maps import nchw, nhwc, pad_to_multiple
from .recompute import checkpointed

NUM_STAGES = 4
PATCH_SIZE = 4


class PatchEmbed(nn.Module):
    """4x4 convolution of stride 4, then LayerNorm over channels.

    Args:
        embed_dims: Output channels.
    """

    def __init__(self, embed_dims: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, embed_dims, PATCH_SIZE, PATCH_SIZE)
        self.norm = nn.LayerNorm(embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """Embed patches: (N, 3, H, W) to (N, C, ceil(H / 4), ceil(W / 4))."""
        x = x.contiguous(memory_format=torch.channels_last)
        return normalise(self.norm, self.proj(pad_to_multiple(x, PATCH_SIZE)))


class PatchMerging(nn.Module):
    """Gathers each 2x2 neighbourhood into one position: LayerNorm, linear layer to 2C.

    Args:
        channels: C of the input.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels)
        self.reduction = PositionwiseLinear(4 * channels, 2 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Merge (N, C, H, W) to (N, 2C, ceil(H / 2), ceil(W / 2))."""
        x = nhwc(pad_to_multiple(x, 2))
        # The order of the release, column by column; torch's unfold would go row by row.
        x = torch.cat([x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)], dim=-1)
        return self.reduction(nchw(self.norm(x)))


class Stage(nn.Module):
    """Blocks at one resolution, then the patch merging that leads to the next.

    Args:
        blocks: Modules from (N, C, H, W) to (N, C, H, W).
        downsample: The patch merging, if one follows the blocks.
        with_cp: Whether to recompute the blocks in the backward pass.
    """

    def __init__(
        self, blocks: Iterable[nn.Module], downsample: PatchMerging | None, with_cp: bool
    ) -> None:
        super().__init__()
        self.with_cp = with_cp
        self.blocks = ModuleList(blocks)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """Apply the blocks, (N, C, H, W) to (N, C, H, W), without the patch merging."""
        for block in self.blocks:
            x = checkpointed(block, x) if self.with_cp and x.requires_grad else block(x)
        return x


class SwinDesign(BaseModule):
    """All of a backbone but its blocks; a subclass says which blocks, and documents the keys.

    Args:
        embed_dims: Channels of the first stage, doubled by each later one.
        depths: Blocks in each of the four stages.
        build_block: Makes a block from (stage, index in the stage, channels, drop path rate).
        out_indices: Stages (0 to 3, or negative from the end) whose maps are returned. The last
            stage alone gets a LayerNorm, `norm`; any other choice gets a norm layer of
            `norm_cfg` per output, `norm{i}`. Stages after the last output are not built.
        drop_path_rate: Rate of the last block; it grows linearly from 0 in the first.
        frozen_stages: -1 freezes nothing, 0 the patch embedding, n also the first n stages.
        norm_cfg: Config of the norm layers of the outputs.
        with_cp: What to recompute in the backward pass: False for nothing, True for each block,
            'selective' for the norms and activations in it, which is up to the blocks.
        init_cfg: Initialisation, as in mmengine. By default linear layers (Conv1d is one along
            its channels) draw from a truncated normal distribution of std 0.02.

    Raises:
        UserError: If an argument has a value that no network can have.
    """

    def __init__(
        self,
        embed_dims: int,
        depths: Sequence[int],
        build_block: Callable[[int, int, int, float], nn.Module],
        out_indices: int | Sequence[int],
        drop_path_rate: float,
        frozen_stages: int,
        norm_cfg: dict,
        with_cp: bool | str,
        init_cfg: dict | list[dict] | None,
    ) -> None:
        if init_cfg is None:
            init_cfg = dict(type='TruncNormal', layer=['Linear', 'Conv1d'], std=0.02, bias=0.0)
        super().__init__(init_cfg)
        owner = type(self).__name__
        if not 0 <= drop_path_rate < 1:
            raise UserError(f'{owner} got drop_path_rate={drop_path_rate!r}: give 0 <= rate < 1')
        if frozen_stages not in range(-1, NUM_STAGES + 1):
            raise UserError(
                f'{owner} got frozen_stages={frozen_stages!r}: give -1 (none) to {NUM_STAGES} (all)'
            )
        if with_cp not in (False, True, 'selective'):
            raise UserError(f"{owner} got with_cp={with_cp!r}: give False, True or 'selective'")
        self.out_indices = _parse_out_indices(owner, out_indices)
        self.frozen_stages = frozen_stages

        self.patch_embed = PatchEmbed(embed_dims)
        self.layers = ModuleList()
        # On the CPU even where the model is built on another device, such as meta.
        rates = torch.linspace(0, drop_path_rate, sum(depths), device='cpu')
        drop_paths = rates.split(tuple(depths))
        for i in range(self.out_indices[-1] + 1):
            channels = embed_dims * 2**i
            blocks = [build_block(i, j, channels, r) for j, r in enumerate(drop_paths[i].tolist())]
            downsample = PatchMerging(channels) if i < self.out_indices[-1] else None
            self.layers.append(Stage(blocks, downsample, with_cp not in (False, 'selective')))
        self._classifies = self.out_indices == (NUM_STAGES - 1,)
        if self._classifies:
            self.norm = nn.LayerNorm(embed_dims * 2 ** (NUM_STAGES - 1))
        else:
            for i in self.out_indices:
                self.add_module(f'norm{i}', build_norm_layer(norm_cfg, embed_dims * 2**i)[1])
        self._freeze()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute feature maps.

        Args:
            x: Normalised images, (N, 3, H, W), any size and memory format.

        Returns:
            For each index i of `out_indices` a map (N, embed_dims * 2**i, ceil(H / 2**(i + 2)),
            ceil(W / 2**(i + 2))), in torch's default memory format.

        Raises:
            UserError: If `x` is not (N, 3, H, W).
        """
        if x.ndim != 4 or x.shape[1] != 3:
            raise UserError(
                f'{type(self).__name__} got an input of shape {tuple(x.shape)}, but takes images '
                'as (N, 3, H, W): give a batch of three-channel images'
            )
        x = self.patch_embed(x)
        outs = []
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if i in self.out_indices:
                norm = self.norm if self._classifies else getattr(self, f'norm{i}')
                # Heads may read memory as it lies: compiled mmcv's RoIAlign does, and would take
                # channels-last maps for something else, silently.
                outs.append(normalise(norm, x).contiguous())
            if layer.downsample is not None:
                x = layer.downsample(x)
        return tuple(outs)

    def train(self, mode: bool = True) -> 'SwinDesign':
        """Set training or evaluation mode; frozen stages stay in evaluation mode."""
        super().train(mode)
        self._freeze()
        return self

    def _freeze(self) -> None:
        if self.frozen_stages < 0:
            return
        for module in (self.patch_embed, *self.layers[: self.frozen_stages]):
            module.eval().requires_grad_(False)


def parse_arch(owner: str, arch: str | dict, named: Mapping[str, dict], example: str) -> dict:
    """Read the numbers of an architecture from its name or a dict.

    Args:
        owner: Name of the backbone, for messages.
        arch: A key of `named`, or a dict with the keys that those have.
        named: The named architectures; each has embed_dims, depths and what else the owner needs.
        example: The key of `named` to show to whom gave a dict with other keys.

    Returns:
        The numbers, with `depths` as a tuple. Only `depths` is checked.

    Raises:
        UserError: If the name or the dict's keys are unknown, or `depths` impossible.
    """
    *first, last = named[example]
    keys = f'{", ".join(first)} and {last}'
    if isinstance(arch, str) and arch not in named:
        raise UserError(
            f'{owner} has no arch {arch!r}: choose one of {sorted(named)}, or give a dict with '
            f'{keys}'
        )
    numbers = named[arch] if isinstance(arch, str) else arch
    if set(numbers) != set(named[example]):
        shown = ', '.join(f'{key}={value}' for key, value in named[example].items())
        raise UserError(
            f'{owner} got an arch with the keys {sorted(numbers)}: give {keys}, such as '
            f'dict({shown})'
        )
    depths = tuple(numbers['depths'])
    if len(depths) != NUM_STAGES or not all(isinstance(d, int) and d > 0 for d in depths):
        raise UserError(
            f'{owner} got depths={depths}: give the number of blocks, at least 1, for each of the '
            f'{NUM_STAGES} stages'
        )
    return {**numbers, 'depths': depths}


def normalise(norm: nn.Module, x: Tensor) -> Tensor:
    """Apply a norm layer to (N, C, H, W); a LayerNorm over the channels of each position."""
    return nchw(norm(nhwc(x))) if isinstance(norm, nn.LayerNorm) else norm(x)


def _parse_out_indices(owner: str, out_indices: int | Sequence[int]) -> tuple[int, ...]:
    """Make `out_indices` a sorted tuple of stages from 0 to 3."""
    given = (out_indices,) if isinstance(out_indices, int) else tuple(out_indices)
    indices = tuple(i + NUM_STAGES if i < 0 else i for i in given)
    if not indices or indices != tuple(sorted(set(indices) & set(range(NUM_STAGES)))):
        raise UserError(
            f'{owner} got out_indices={given}: give stages from 0 to {NUM_STAGES - 1}, each once '
            'and in order'
        )
    return indices
