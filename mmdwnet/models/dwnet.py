"""DWNet: the macro design of the Swin Transformer with depth-wise convolution for attention.

Han et al., "On the Connection between Local Attention and Dynamic Depth-wise Convolution",
ICLR 2022, https://arxiv.org/abs/2106.04263. Parameters keep the names of the authors' release, so
its weights load unchanged.
"""

import math
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from mmdwnet.errors import UserError
from mmdwnet.ops.functional import MAX_KERNEL, MIN_KERNEL

from .feed_forward import FeedForward, PositionwiseConv2d
from .maps import NormLayer, pad_to_multiple
from .mixers import MIXERS
from .recompute import chain
from .swin_design import NUM_STAGES, SwinDesign, as_tuple, drop_path_layer, is_count

ARCHITECTURES: dict[str, dict] = {
    'tiny': dict(embed_dims=96, depths=(2, 2, 6, 2)),
    'base': dict(embed_dims=128, depths=(2, 2, 18, 2)),
    'nano': dict(embed_dims=32, depths=(1, 1, 2, 1)),
}


class MixingBranch(nn.Module):
    """1x1 convolution, mixer, 1x1 convolution, each followed by a norm layer.

    Args:
        channels: C of the (N, C, H, W) input and output.
        mixer: Builds the mixer; see `mmdwnet.models.mixers`.
        window_size: Side of the mixer's kernels, odd.
        norm_layer: Builds the norm layers.
        pad_to_window: Whether to zero-pad the map to a multiple of the window first.
        recompute: Whether to recompute norms and ReLUs in the backward pass.
    """

    def __init__(
        self,
        channels: int,
        mixer: Callable[..., nn.Module],
        window_size: int,
        norm_layer: NormLayer,
        pad_to_window: bool,
        recompute: bool,
    ) -> None:
        super().__init__()
        self.recompute = recompute
        self.multiple = window_size if pad_to_window else 1
        self.conv0 = PositionwiseConv2d(channels, channels, 1, bias=False)
        self.bn0 = norm_layer(channels)
        self.conv = mixer(channels, window_size, norm_layer)
        self.bn = norm_layer(channels)
        self.conv2 = PositionwiseConv2d(channels, channels, 1, bias=False)
        self.bn2 = norm_layer(channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Mix positions and channels: (N, C, H, W) to (N, C, H, W)."""
        h, w = x.shape[-2:]
        x = self.conv0(pad_to_multiple(x, self.multiple))
        x = chain((self.bn0, self.relu), self.conv, x, self.recompute)
        x = chain((self.bn, self.relu), self.conv2, x, self.recompute)
        x = self.bn2(x)
        return x if self.multiple == 1 else x[..., :h, :w]


class DWBlock(nn.Module):
    """Mixing branch, then feed-forward branch, each with a residual connection.

    Args:
        channels: C of the (N, C, H, W) input and output.
        drop_path: Probability of dropping a branch.
        norm_layer: Builds the norm layers.
        mlp_ratio: Ratio of hidden to input channels in the feed-forward branch.
        act_layer: Builds the activation of the feed-forward branch.
        recompute: Whether to recompute norms and activations in the backward pass.
        **mixing: Other arguments of `MixingBranch`: mixer, window_size, pad_to_window.
    """

    def __init__(
        self,
        channels: int,
        drop_path: float,
        norm_layer: NormLayer,
        mlp_ratio: float,
        act_layer: Callable[[], nn.Module],
        recompute: bool,
        **mixing,
    ) -> None:
        super().__init__()
        self.recompute = recompute
        self.attn2conv = MixingBranch(
            channels, norm_layer=norm_layer, recompute=recompute, **mixing
        )
        self.bn = norm_layer(channels)
        self.mlp = FeedForward(channels, recompute, mlp_ratio, act_layer)
        self.drop_path = drop_path_layer(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Transform (N, C, H, W) to (N, C, H, W)."""
        x = x + self.drop_path(self.attn2conv(x))
        return x + self.drop_path(chain((self.bn,), self.mlp, x, self.recompute))


class DWNet(SwinDesign):
    """Network of (dynamic) depth-wise convolutions for any image size.

    Source: Han et al., ICLR 2022, section 3 and appendix (network), and the authors' release
    (names, padding, output norms).

    Args:
        arch: 'nano' (for demonstrations and tests), 'tiny' or 'base' (from the paper), or a dict
            with `embed_dims` (channels of the first stage, doubled in each later one) and `depths`
            (blocks in each of the four stages). Defaults to 'tiny'.
        mixer: 'static', 'dynamic' or 'inhomogeneous' (from the paper), or a callable that builds a
            mixer; see `mmdwnet.models.mixers`. Defaults to 'static'.
        window_size: Side of the mixers' kernels, odd, from 3 to 31; one for all stages or one for
            each. Defaults to 7.
        pad_to_window: Whether to zero-pad the map to a multiple of `window_size` before each
            mixing branch and crop it afterwards, as in training of the released detectors and
            segmentors. Has no effect at 224 x 224. Defaults to False.
        in_channels: Number of image channels. Defaults to 3.
        mlp_ratio: Ratio of hidden to input channels in feed-forward branches. Defaults to 4.
        act_layer: Builds the activations of the feed-forward branches. Defaults to nn.GELU.
        norm_layer: Builds the norm layer of (N, C, H, W) for C channels, in blocks and predictors.
            Defaults to nn.BatchNorm2d.
        out_indices: Stages (0 to 3, or negative from the end) whose maps are returned. (3, ) alone
            uses the classifier's LayerNorm, `norm`; otherwise each output has a norm from
            `norm_layer`, `norm{i}`. Stages after the last output are not built. Defaults to (3, ).
        drop_path_rate: Drop path rate of the last block, increasing linearly from 0 in the first
            block. Defaults to 0.
        with_cp: What to recompute in the backward pass to save memory: False for nothing, True for
            each block, 'selective' for its norms and activations, which are cheap. BNs count each
            batch once. Defaults to False.

    Raises:
        UserError: An argument is invalid.
    """

    def __init__(
        self,
        arch: str | dict = 'tiny',
        mixer: str | Callable[..., nn.Module] = 'static',
        window_size: int | Sequence[int] = 7,
        pad_to_window: bool = False,
        in_channels: int = 3,
        mlp_ratio: float = 4,
        act_layer: Callable[[], nn.Module] = nn.GELU,
        norm_layer: NormLayer = nn.BatchNorm2d,
        out_indices: int | Sequence[int] = (NUM_STAGES - 1,),
        drop_path_rate: float = 0.0,
        with_cp: bool | str = False,
    ) -> None:
        super().__init__(arch, ARCHITECTURES, in_channels, out_indices, drop_path_rate, with_cp)
        embed_dims = self.arch['embed_dims']
        if not is_count(embed_dims) or embed_dims % 4:
            raise UserError(f'DWNet got embed_dims={embed_dims!r}: give a positive multiple of 4')
        if mixer not in MIXERS if isinstance(mixer, str) else not callable(mixer):
            raise UserError(f'DWNet has no mixer {mixer!r}: choose one of {sorted(MIXERS)}')
        if not isinstance(mlp_ratio, int | float) or not 0 < mlp_ratio < math.inf:
            raise UserError(f'DWNet got mlp_ratio={mlp_ratio!r}: give a positive number')
        self.mixer = MIXERS[mixer] if isinstance(mixer, str) else mixer
        self.window_sizes = _parse_window_size(window_size)
        self.pad_to_window = pad_to_window
        self.mlp_ratio = mlp_ratio
        self.act_layer = act_layer
        self.norm_layer = norm_layer
        self.build(norm_layer)

    def build_block(self, stage: int, index: int, channels: int, drop_path: float) -> nn.Module:
        """Build a block; see `SwinDesign.build_block`."""
        return DWBlock(
            channels,
            drop_path,
            self.norm_layer,
            self.mlp_ratio,
            self.act_layer,
            recompute=self.with_cp == 'selective',
            mixer=self.mixer,
            window_size=self.window_sizes[stage],
            pad_to_window=self.pad_to_window,
        )


def _parse_window_size(window_size: int | Sequence[int]) -> tuple[int, ...]:
    """Return the kernel size of each stage."""
    sizes = as_tuple(window_size) * (NUM_STAGES if isinstance(window_size, int) else 1)
    if len(sizes) != NUM_STAGES or not all(
        isinstance(size, int) and size in range(MIN_KERNEL, MAX_KERNEL + 1, 2) for size in sizes
    ):
        raise UserError(
            f'DWNet got window_size={window_size!r}, but a window is centered on a position: give '
            f'an odd number from {MIN_KERNEL} to {MAX_KERNEL}, such as 7, or one for each of the '
            f'{NUM_STAGES} stages'
        )
    return sizes
