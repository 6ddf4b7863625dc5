"""Small backbones of each kind, and inputs for them."""

import torch
from mmengine.registry import MODELS
from torch import nn

import mmdwnet  # noqa: F401  # registers the backbones

MIXERS = ('static', 'dynamic', 'inhomogeneous')
SWIN_MLP = dict(embed_dims=32, depths=(1, 1, 2, 1), num_heads=(1, 2, 4, 8), window_size=4)
KINDS: dict[str, dict] = {
    **{mixer: dict(type='DWNet', arch='nano', mixer=mixer) for mixer in MIXERS},
    'swin_mlp': dict(type='SwinMLP', arch=SWIN_MLP),
}


def images(n: int = 2, h: int = 64, w: int = 64) -> torch.Tensor:
    return torch.randn(n, 3, h, w, generator=torch.Generator().manual_seed(0))


def nano(kind: str = 'static', **options) -> nn.Module:
    torch.manual_seed(0)
    backbone = MODELS.build({**KINDS[kind], **options})
    backbone.init_weights()
    return backbone


def total(outs: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Reduce outputs to a loss; not a sum of squares, as a norm layer keeps it constant."""
    return sum(out.float().abs().mean() for out in outs)
