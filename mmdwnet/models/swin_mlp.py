"""Swin-MLP: the Swin Transformer with a learned matrix per head in place of window attention.

The attention-free model that the DWNet paper compares with: Liu et al., "Swin Transformer:
Hierarchical Vision Transformer using Shifted Windows", ICCV 2021, https://arxiv.org/abs/2103.14030,
and the `swin_mlp_*` models of its authors' release. Parameters keep the names of that release, so
its weights load unchanged.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mmdwnet.errors import UserError

from .feed_forward import FeedForward
from .maps import LayerNorm2d, NormLayer, missing, nchw, nhwc
from .recompute import chain
from .swin_design import (
    NUM_STAGES,
    PATCH_SIZE,
    SwinDesign,
    as_tuple,
    drop_path_layer,
    is_count,
)

TINY = dict(embed_dims=96, depths=(2, 2, 6, 2))
ARCHITECTURES: dict[str, dict] = {  # cN: N channels per head
    'tiny_c24': dict(**TINY, num_heads=(4, 8, 16, 32), window_size=8),
    'tiny_c12': dict(**TINY, num_heads=(8, 16, 32, 64), window_size=8),
    'tiny_c6': dict(**TINY, num_heads=(16, 32, 64, 128), window_size=8),
    'base': dict(embed_dims=128, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32), window_size=7),
}


class SpatialMLP(nn.Conv1d):
    """Mix the k x k positions of each window with one learned matrix per head.

    Each head is a group of C / num_heads channels. The map is zero-padded to a multiple of k and
    cropped afterwards: by k - shift at the top and left if the windows are shifted, and by the rest
    at the bottom and right. If k divides the map, this is the padding of the release.

    Args:
        num_heads: Number of heads.
        window_size: k, side of the windows.
        shift: Shift of the windows to the bottom and right, 0 <= shift < k.
    """

    def __init__(self, num_heads: int, window_size: int, shift: int) -> None:
        values = num_heads * window_size**2
        super().__init__(values, values, kernel_size=1, groups=num_heads)
        self.window_size = window_size
        self.offset = window_size - shift if shift else 0

    def forward(self, x: Tensor) -> Tensor:
        """Mix positions: (N, H, W, C) to (N, H, W, C), where C is divisible by num_heads."""
        n, h, w, c = x.shape
        heads, k, offset = self.groups, self.window_size, self.offset
        bottom, right = (missing(offset + size, k) for size in (h, w))
        if torch.onnx.is_in_onnx_export() or offset or bottom or right:  # as in pad_to_multiple
            x = F.pad(x, (0, 0, offset, right, offset, bottom))
        rows, columns = x.shape[1] // k, x.shape[2] // k

        x = x.reshape(n, rows, k, columns, k, heads, c // heads).permute(0, 1, 3, 5, 2, 4, 6)
        x = super().forward(x.reshape(n * rows * columns, heads * k * k, c // heads))
        x = x.view(n, rows, columns, heads, k, k, c // heads).permute(0, 1, 4, 2, 5, 3, 6)
        x = x.reshape(n, rows * k, columns * k, c)
        return x[:, offset : offset + h, offset : offset + w]


class SwinMLPBlock(nn.Module):
    """LayerNorm and spatial MLP, then LayerNorm and MLP over channels, each with a residual.

    Args:
        channels: C of the (N, C, H, W) input and output.
        drop_path: Probability of dropping a branch.
        recompute: Whether to recompute norms and GELU in the backward pass.
        spatial: Arguments of `SpatialMLP`: num_heads, window_size, shift.
    """

    def __init__(self, channels: int, drop_path: float, recompute: bool, **spatial) -> None:
        super().__init__()
        self.recompute = recompute
        self.norm1 = nn.LayerNorm(channels)
        self.spatial_mlp = SpatialMLP(**spatial)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = FeedForward(channels, recompute)
        self.drop_path = drop_path_layer(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Transform (N, C, H, W) to (N, C, H, W)."""
        x = nhwc(x)
        x = x + self.drop_path(self.spatial_mlp(self.norm1(x)))
        mixed = chain((self.norm2,), lambda y: self.mlp(nchw(y)), x, self.recompute)
        return nchw(x) + self.drop_path(mixed)


class SwinMLP(SwinDesign):
    """Swin-MLP network for any image size.

    Every other block of a stage shifts its windows by half a window. If windows do not tile the
    map, it is zero-padded at the bottom and right after the LayerNorm, and cropped afterwards. At
    `img_size`, only shifting pads, and the network is that of the release.

    Source: the authors' release of Swin-MLP (network, names); Swin's detectors and segmentors
    (padding, output norms).

    Args:
        arch: 'tiny_c24', 'tiny_c12', 'tiny_c6' or 'base' (released; cN has N channels per head), or
            a dict with `embed_dims` (channels of the first stage, doubled in each later one),
            `depths` (blocks in each of the four stages), `num_heads` (heads in each stage) and
            `window_size` (side of the windows). Defaults to 'tiny_c24'.
        img_size: Side of the images that the windows are designed for; other sizes also work. In a
            stage whose map is then no larger than a window, the window is the map, without a
            shift. Defaults to 32 * window_size: 256 for the released tiny models, 224 for base.
        in_channels: Number of image channels. Defaults to 3.
        norm_layer: Builds the output norms in dense prediction; all other norms are LayerNorms.
            Defaults to LayerNorm over the channels.
        out_indices: Stages (0 to 3, or negative from the end) whose maps are returned. (3, ) alone
            uses the classifier's LayerNorm, `norm`; otherwise each output has a norm from
            `norm_layer`, `norm{i}`. Stages after the last output are not built. Defaults to (3, ).
        drop_path_rate: Drop path rate of the last block, increasing linearly from 0 in the first
            block. Defaults to 0.
        with_cp: What to recompute in the backward pass to save memory: False for nothing, True for
            each block, 'selective' for its norms and GELU, which are cheap. Defaults to False.

    Raises:
        UserError: An argument is invalid.
    """

    def __init__(
        self,
        arch: str | dict = 'tiny_c24',
        img_size: int | None = None,
        in_channels: int = 3,
        norm_layer: NormLayer = LayerNorm2d,
        out_indices: int | Sequence[int] = (NUM_STAGES - 1,),
        drop_path_rate: float = 0.0,
        with_cp: bool | str = False,
    ) -> None:
        super().__init__(arch, ARCHITECTURES, in_channels, out_indices, drop_path_rate, with_cp)
        embed_dims, window_size = self.arch['embed_dims'], self.arch['window_size']
        self.num_heads = as_tuple(self.arch['num_heads'])
        for key, value in dict(embed_dims=embed_dims, window_size=window_size).items():
            if not is_count(value):
                raise UserError(f'SwinMLP got {key}={value!r}: give a positive integer')
        if len(self.num_heads) != NUM_STAGES or not all(
            is_count(heads) and embed_dims * 2**i % heads == 0
            for i, heads in enumerate(self.num_heads)
        ):
            raise UserError(
                f'SwinMLP got num_heads={self.num_heads}: give, for each of the {NUM_STAGES} '
                f'stages, a divisor of its {embed_dims} * 2**i channels'
            )
        if img_size is None:
            img_size = PATCH_SIZE * 2 ** (NUM_STAGES - 1) * window_size
        if not is_count(img_size):
            raise UserError(f'SwinMLP got img_size={img_size!r}: give the side of square images')
        self.img_size = img_size
        self.build(norm_layer)

    def build_block(self, stage: int, index: int, channels: int, drop_path: float) -> nn.Module:
        """Build a block; see `SwinDesign.build_block`."""
        window_size = self.arch['window_size']
        side = -(-self.img_size // (PATCH_SIZE * 2**stage))
        shifted = index % 2 == 1 and side > window_size
        return SwinMLPBlock(
            channels,
            drop_path,
            recompute=self.with_cp == 'selective',
            num_heads=self.num_heads[stage],
            window_size=min(window_size, side),
            shift=window_size // 2 if shifted else 0,
        )
