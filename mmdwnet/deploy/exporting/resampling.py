"""Pooling and upsampling in operators that ONNX has, for maps of any size."""

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

_UPSAMPLE = 'mmseg.models.utils.wrappers.Upsample'


class AveragingMatrices(nn.Module):
    """`nn.AdaptiveAvgPool2d`, as a product with a matrix for rows and one for columns.

    ONNX has no adaptive pooling to more than one position. Windows of the same height or width
    average each row, or column, with the same weights.

    Args:
        pool: The module to replace.
    """

    def __init__(self, pool: nn.AdaptiveAvgPool2d) -> None:
        super().__init__()
        size = pool.output_size
        self.output_size = size if isinstance(size, tuple) else (size, size)

    def forward(self, x: Tensor) -> Tensor:
        """Pool (N, C, H, W) to (N, C, *output_size)."""
        h, w = x.shape[-2:]
        rows, columns = self.output_size
        if rows is not None:
            x = averages(h, rows, x) @ x
        return x if columns is None else x @ averages(w, columns, x).transpose(0, 1)


def averages(size: int, wanted: int, like: Tensor) -> Tensor:
    """Return the matrix that averages `size` positions to `wanted`, (wanted, size)."""
    place = torch.arange(size, device=like.device)
    window = torch.arange(wanted, device=like.device)[:, None]
    start = window * size // wanted
    end = ((window + 1) * size + wanted - 1) // wanted
    inside = (place >= start) & (place < end)
    return inside.to(like.dtype) / (end - start)


class Upsampling(nn.Module):
    """mmseg's `Upsample` by a factor, which takes the size of a map for a constant of the graph.

    Args:
        upsample: The module to replace.
    """

    def __init__(self, upsample: Any) -> None:
        super().__init__()
        self.factor = upsample.scale_factor
        self.options = dict(mode=upsample.mode, align_corners=upsample.align_corners)

    def forward(self, x: Tensor) -> Tensor:
        """Enlarge (N, C, H, W)."""
        size = [side * self.factor for side in x.shape[-2:]]
        # Sides are tensors while a graph is traced.
        size = [side.long() if isinstance(side, Tensor) else int(side) for side in size]
        return F.interpolate(x, size=size, **self.options)


def substitutes(modules: Iterable[nn.Module]) -> dict[nn.Module, nn.Module]:
    """Return what to replace among modules, and by what, so that they can be exported."""
    found: dict[nn.Module, nn.Module] = {}
    for module in modules:
        kind = type(module)
        if isinstance(module, nn.AdaptiveAvgPool2d) and module.output_size not in (1, (1, 1)):
            found[module] = AveragingMatrices(module)
        elif f'{kind.__module__}.{kind.__name__}' == _UPSAMPLE and not module.size:
            found[module] = Upsampling(module)
    return found
