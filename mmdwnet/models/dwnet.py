"""DWNet: the Swin Transformer's macro-design with depth-wise convolution for attention.

Han et al., "On the Connection between Local Attention and Dynamic Depth-wise Convolution",
ICLR 2022, https://arxiv.org/abs/2106.04263.

Parameters carry the names of the authors' release, so its weights load as they are. Activations
are (N, C, H, W) tensors in channels-last memory from the patch embedding to the last block: a
linear layer sees them through a permuted view, never through a copy.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812
from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule, ModuleList
from mmengine.registry import MODELS
from timm.layers import DropPath, Mlp
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from mmdwnet.errors import UserError

from .mixers import MIXERS

ARCHITECTURES: dict[str, dict] = {
    'nano': dict(embed_dims=32, depths=(1, 1, 2, 1)),
    'tiny': dict(embed_dims=96, depths=(2, 2, 6, 2)),
    'base': dict(embed_dims=128, depths=(2, 2, 18, 2)),
}
NUM_STAGES = 4
PATCH_SIZE = 4
MLP_RATIO = 4


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
        return _layer_norm(self.norm, self.proj(_pad_to_multiple(x, PATCH_SIZE)))


class MixingBranch(nn.Module):
    """1x1 convolution, depth-wise mixer, 1x1 convolution, each followed by a BN.

    Args:
        channels: C of the (N, C, H, W) input and output.
        mixer: Key of `MIXERS`.
        window_size: Side of the mixer's kernels, odd.
        norm_cfg: Config of the norm layers.
        pad_to_window: Whether to zero-pad the map to a multiple of the window first.
    """

    def __init__(
        self, channels: int, mixer: str, window_size: int, norm_cfg: dict, pad_to_window: bool
    ) -> None:
        super().__init__()
        self.multiple = window_size if pad_to_window else 1
        self.conv0 = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn0 = build_norm_layer(norm_cfg, channels)[1]
        self.conv = MIXERS[mixer](channels, window_size, norm_cfg)
        self.bn = build_norm_layer(norm_cfg, channels)[1]
        self.conv2 = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn2 = build_norm_layer(norm_cfg, channels)[1]
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Mix positions and channels: (N, C, H, W) to (N, C, H, W)."""
        h, w = x.shape[-2:]
        x = _pad_to_multiple(x, self.multiple)
        x = self.relu(self.bn0(self.conv0(x)))
        x = self.relu(self.bn(self.conv(x)))
        return self.bn2(self.conv2(x))[..., :h, :w]


class DWBlock(nn.Module):
    """The mixing branch, then the feed-forward branch, each with a residual.

    Args:
        channels: C of the (N, C, H, W) input and output.
        drop_path: Probability of dropping a branch.
        norm_cfg: Config of the BNs.
        mixing: Arguments of `MixingBranch`: mixer, window_size, pad_to_window.
    """

    def __init__(self, channels: int, drop_path: float, norm_cfg: dict, **mixing) -> None:
        super().__init__()
        self.attn2conv = MixingBranch(channels, norm_cfg=norm_cfg, **mixing)
        self.bn = build_norm_layer(norm_cfg, channels)[1]
        self.mlp = Mlp(channels, MLP_RATIO * channels)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Transform (N, C, H, W) to (N, C, H, W)."""
        x = x + self.drop_path(self.attn2conv(x))
        return x + self.drop_path(_nchw(self.mlp(_nhwc(self.bn(x)))))


class PatchMerging(nn.Module):
    """Gathers each 2x2 neighbourhood into one position: LayerNorm, linear layer to 2C.

    Args:
        channels: C of the input.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels)
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Merge (N, C, H, W) to (N, 2C, ceil(H / 2), ceil(W / 2))."""
        x = _nhwc(_pad_to_multiple(x, 2))
        # The order of the release, column by column; torch's unfold would go row by row.
        x = torch.cat([x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)], dim=-1)
        return _nchw(self.reduction(self.norm(x)))


class DWStage(nn.Module):
    """Blocks at one resolution, then the patch merging that leads to the next.

    Args:
        channels: C of the blocks.
        drop_paths: Probability of dropping a branch, for each block.
        downsample: Whether a patch merging follows the blocks.
        with_cp: Whether to recompute the blocks' activations in the backward pass.
        block: Further arguments of `DWBlock`.
    """

    def __init__(
        self,
        channels: int,
        drop_paths: Sequence[float],
        downsample: bool,
        with_cp: bool,
        **block,
    ) -> None:
        super().__init__()
        self.with_cp = with_cp
        self.blocks = ModuleList(DWBlock(channels, rate, **block) for rate in drop_paths)
        self.downsample = PatchMerging(channels) if downsample else None

    def forward(self, x: Tensor) -> Tensor:
        """Apply the blocks, (N, C, H, W) to (N, C, H, W), without the patch merging."""
        for block in self.blocks:
            if self.with_cp and x.requires_grad:
                x = checkpoint(
                    block,
                    x,
                    use_reentrant=False,
                    context_fn=partial(_checkpoint_contexts, block),
                )
            else:
                x = block(x)
        return x


@MODELS.register_module()
class DWNet(BaseModule):
    """Backbone of (dynamic) depth-wise convolutions, for any image size.

    Source: Han et al., ICLR 2022, section 3 and appendix (network), and the authors' release
    (names, padding, normalisation of the outputs).

    Args:
        arch: 'nano' (for demonstrations and tests), 'tiny' or 'base' (the paper's), or a dict
            with `embed_dims` (channels of the first stage, doubled by each later one) and
            `depths` (blocks in each of the four stages). Defaults to 'tiny'.
        mixer: Where the weights of the depth-wise product come from: 'static' (learned),
            'dynamic' (predicted per image) or 'inhomogeneous' (predicted per position). Defaults
            to 'static'.
        window_size: Side of the depth-wise kernels, odd. Defaults to 7.
        pad_to_window: Whether to zero-pad the map to a multiple of `window_size` before each
            mixing branch and crop it after. The released detectors and segmentors were trained
            so; at 224 x 224 it changes nothing. Defaults to False.
        out_indices: Stages (0 to 3, or negative from the end) whose maps are returned. The last
            stage alone gets the classifier's LayerNorm, `norm`; any other choice gets a norm
            layer of `norm_cfg` per output, `norm{i}`. Stages after the last output are not
            built. Defaults to (3, ).
        drop_path_rate: Probability of dropping a branch in the last block; it grows linearly
            from 0 in the first. Defaults to 0.
        frozen_stages: -1 freezes nothing, 0 the patch embedding, n also the first n stages: no
            gradients, and BNs keep their statistics in training. Norms of the outputs stay
            trainable, as no classifier comes with them. Defaults to -1.
        norm_cfg: Config of the BNs; LayerNorms stay what they are. Defaults to
            dict(type='BN').
        with_cp: Whether to save memory by recomputing each block in the backward pass. BNs count
            each batch once. Defaults to False.
        init_cfg: Initialisation, as in mmengine. By default linear layers draw from a truncated
            normal distribution of std 0.02, and all others keep torch's initialisation.

    Raises:
        UserError: If an argument has a value that no network can have.
    """

    def __init__(
        self,
        arch: str | dict = 'tiny',
        mixer: str = 'static',
        window_size: int = 7,
        pad_to_window: bool = False,
        out_indices: int | Sequence[int] = (NUM_STAGES - 1,),
        drop_path_rate: float = 0.0,
        frozen_stages: int = -1,
        norm_cfg: dict | None = None,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        if init_cfg is None:
            init_cfg = dict(type='TruncNormal', layer='Linear', std=0.02, bias=0.0)
        super().__init__(init_cfg)
        embed_dims, depths = _parse_arch(arch)
        if mixer not in MIXERS:
            raise UserError(f'DWNet has no mixer {mixer!r}: choose one of {sorted(MIXERS)}')
        if not isinstance(window_size, int) or window_size < 1 or window_size % 2 == 0:
            raise UserError(
                f'DWNet got window_size={window_size!r}, but a window is centred on a position: '
                'give an odd number, such as 7'
            )
        if not 0 <= drop_path_rate < 1:
            raise UserError(f'DWNet got drop_path_rate={drop_path_rate!r}: give 0 <= rate < 1')
        if frozen_stages not in range(-1, NUM_STAGES + 1):
            raise UserError(
                f'DWNet got frozen_stages={frozen_stages!r}: give -1 (none) to {NUM_STAGES} (all)'
            )
        self.out_indices = _parse_out_indices(out_indices)
        self.frozen_stages = frozen_stages
        norm_cfg = norm_cfg or dict(type='BN')

        self.patch_embed = PatchEmbed(embed_dims)
        drop_paths = torch.linspace(0, drop_path_rate, sum(depths)).split(depths)
        self.layers = ModuleList(
            DWStage(
                embed_dims * 2**i,
                drop_paths[i].tolist(),
                downsample=i < self.out_indices[-1],
                with_cp=with_cp,
                mixer=mixer,
                window_size=window_size,
                pad_to_window=pad_to_window,
                norm_cfg=norm_cfg,
            )
            for i in range(self.out_indices[-1] + 1)
        )
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
                f'DWNet got an input of shape {tuple(x.shape)}, but takes images as (N, 3, H, W): '
                'give a batch of three-channel images'
            )
        x = self.patch_embed(x)
        outs = []
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if i in self.out_indices:
                # Heads may read memory as it lies: compiled mmcv's RoIAlign does, and would take
                # channels-last maps for something else, silently.
                outs.append(self._normalise(x, i).contiguous())
            if layer.downsample is not None:
                x = layer.downsample(x)
        return tuple(outs)

    def train(self, mode: bool = True) -> 'DWNet':
        """Set training or evaluation mode; frozen stages stay in evaluation mode."""
        super().train(mode)
        self._freeze()
        return self

    def _normalise(self, x: Tensor, stage: int) -> Tensor:
        if self._classifies:
            return _layer_norm(self.norm, x)
        return getattr(self, f'norm{stage}')(x)

    def _freeze(self) -> None:
        if self.frozen_stages < 0:
            return
        for module in (self.patch_embed, *self.layers[: self.frozen_stages]):
            module.eval().requires_grad_(False)


def _parse_arch(arch: str | dict) -> tuple[int, tuple[int, ...]]:
    """Read `embed_dims` and `depths` from a name or a dict."""
    if isinstance(arch, str) and arch not in ARCHITECTURES:
        raise UserError(
            f'DWNet has no arch {arch!r}: choose one of {sorted(ARCHITECTURES)}, or give a dict '
            'with embed_dims and depths'
        )
    numbers = ARCHITECTURES[arch] if isinstance(arch, str) else arch
    if set(numbers) != {'embed_dims', 'depths'}:
        raise UserError(
            f'DWNet got an arch with the keys {sorted(numbers)}: give embed_dims and depths, such '
            'as dict(embed_dims=96, depths=(2, 2, 6, 2))'
        )
    embed_dims, depths = numbers['embed_dims'], tuple(numbers['depths'])
    if len(depths) != NUM_STAGES or not all(isinstance(d, int) and d > 0 for d in depths):
        raise UserError(
            f'DWNet got depths={depths}: give the number of blocks, at least 1, for each of the '
            f'{NUM_STAGES} stages'
        )
    if not isinstance(embed_dims, int) or embed_dims < 4 or embed_dims % 4:
        raise UserError(f'DWNet got embed_dims={embed_dims!r}: give a positive multiple of 4')
    return embed_dims, depths


def _parse_out_indices(out_indices: int | Sequence[int]) -> tuple[int, ...]:
    """Make `out_indices` a sorted tuple of stages from 0 to 3."""
    given = (out_indices,) if isinstance(out_indices, int) else tuple(out_indices)
    indices = tuple(i + NUM_STAGES if i < 0 else i for i in given)
    if not indices or indices != tuple(sorted(set(indices) & set(range(NUM_STAGES)))):
        raise UserError(
            f'DWNet got out_indices={given}: give stages from 0 to {NUM_STAGES - 1}, each once '
            'and in order'
        )
    return indices


def _nhwc(x: Tensor) -> Tensor:
    """View (N, C, H, W) as (N, H, W, C)."""
    return x.permute(0, 2, 3, 1)


def _nchw(x: Tensor) -> Tensor:
    """View (N, H, W, C) as (N, C, H, W)."""
    return x.permute(0, 3, 1, 2)


def _layer_norm(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    """Normalise (N, C, H, W) over its channels."""
    return _nchw(norm(_nhwc(x)))


def _pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Zero-pad (N, C, H, W) at the bottom and right until `multiple` divides H and W."""
    pad_h, pad_w = (-size % multiple for size in x.shape[-2:])
    return F.pad(x, (0, pad_w, 0, pad_h)) if pad_h or pad_w else x


def _checkpoint_contexts(
    block: nn.Module,
) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Return contexts for the forward pass and for its recomputation."""
    return nullcontext(), _statistics_kept(block)


@contextmanager
def _statistics_kept(block: nn.Module) -> Iterator[None]:
    """Keep BNs from counting a batch again while a checkpointed block is recomputed."""
    norms = [m for m in block.modules() if isinstance(m, _BatchNorm)]
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
