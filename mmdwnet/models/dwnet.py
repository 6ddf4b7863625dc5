"""DWNet: the Swin Transformer's macro-design with depth-wise convolution for attention.

Han et al., "On the Connection between Local Attention and Dynamic Depth-wise Convolution",
ICLR 2022, https://arxiv.org/abs/2106.04263.

Parameters carry the names of the authors' release, so its weights load as they are.
"""

from collections.abc import Sequence

from mmcv.cnn import build_norm_layer
from mmengine.registry import MODELS
from timm.layers import DropPath
from torch import Tensor, nn

from mmdwnet.errors import UserError
from mmdwnet.ops.functional import MAX_KERNEL, MIN_KERNEL

from .feed_forward import FeedForward
from .maps import pad_to_multiple
from .mixers import MIXERS
from .recompute import chain
from .swin_design import NUM_STAGES, SwinDesign, parse_arch

ARCHITECTURES: dict[str, dict] = {
    'nano': dict(embed_dims=32, depths=(1, 1, 2, 1)),
    'tiny': dict(embed_dims=96, depths=(2, 2, 6, 2)),
    'base': dict(embed_dims=128, depths=(2, 2, 18, 2)),
}


class MixingBranch(nn.Module):
    """1x1 convolution, depth-wise mixer, 1x1 convolution, each followed by a BN.

    Args:
        channels: C of the (N, C, H, W) input and output.
        mixer: Key of `MIXERS`.
        window_size: Side of the mixer's kernels, odd.
        norm_cfg: Config of the norm layers.
        pad_to_window: Whether to zero-pad the map to a multiple of the window first.
        recompute: Whether the backward pass computes norms and ReLUs again, instead of saving
            their results.
    """

    def __init__(
        self,
        channels: int,
        mixer: str,
        window_size: int,
        norm_cfg: dict,
        pad_to_window: bool,
        recompute: bool,
    ) -> None:
        super().__init__()
        self.recompute = recompute
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
        x = self.conv0(pad_to_multiple(x, self.multiple))
        x = chain((self.bn0, self.relu), self.conv, x, self.recompute)
        x = chain((self.bn, self.relu), self.conv2, x, self.recompute)
        return self.bn2(x)[..., :h, :w]


class DWBlock(nn.Module):
    """The mixing branch, then the feed-forward branch, each with a residual.

    Args:
        channels: C of the (N, C, H, W) input and output.
        drop_path: Probability of dropping a branch.
        norm_cfg: Config of the BNs.
        recompute: Whether the backward pass computes norms and activations again, instead of
            saving their results.
        mixing: Other arguments of `MixingBranch`: mixer, window_size, pad_to_window.
    """

    def __init__(
        self, channels: int, drop_path: float, norm_cfg: dict, recompute: bool, **mixing
    ) -> None:
        super().__init__()
        self.recompute = recompute
        self.attn2conv = MixingBranch(channels, norm_cfg=norm_cfg, recompute=recompute, **mixing)
        self.bn = build_norm_layer(norm_cfg, channels)[1]
        self.mlp = FeedForward(channels, recompute)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Transform (N, C, H, W) to (N, C, H, W)."""
        x = x + self.drop_path(self.attn2conv(x))
        return x + self.drop_path(chain((self.bn,), self.mlp, x, self.recompute))


@MODELS.register_module()
class DWNet(SwinDesign):
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
        window_size: Side of the depth-wise kernels, odd, from 3 to 31. Defaults to 7.
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
        with_cp: What to recompute in the backward pass to save memory: False for nothing, True for
            each block, 'selective' for the norms, ReLUs and GELU in it, which are quick. BNs count
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
        with_cp: bool | str = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        numbers = parse_arch('DWNet', arch, ARCHITECTURES, example='tiny')
        embed_dims = numbers['embed_dims']
        if not isinstance(embed_dims, int) or embed_dims < 4 or embed_dims % 4:
            raise UserError(f'DWNet got embed_dims={embed_dims!r}: give a positive multiple of 4')
        if mixer not in MIXERS:
            raise UserError(f'DWNet has no mixer {mixer!r}: choose one of {sorted(MIXERS)}')
        if window_size not in range(MIN_KERNEL, MAX_KERNEL + 1, 2):
            raise UserError(
                f'DWNet got window_size={window_size!r}, but a window is centred on a position: '
                f'give an odd number from {MIN_KERNEL} to {MAX_KERNEL}, such as 7'
            )
        norm_cfg = norm_cfg or dict(type='BN')

        def build_block(stage: int, index: int, channels: int, drop_path: float) -> DWBlock:
            return DWBlock(
                channels,
                drop_path,
                norm_cfg,
                recompute=with_cp == 'selective',
                mixer=mixer,
                window_size=window_size,
                pad_to_window=pad_to_window,
            )

        super().__init__(
            embed_dims,
            numbers['depths'],
            build_block,
            out_indices=out_indices,
            drop_path_rate=drop_path_rate,
            frozen_stages=frozen_stages,
            norm_cfg=norm_cfg,
            with_cp=with_cp,
            init_cfg=init_cfg,
        )
