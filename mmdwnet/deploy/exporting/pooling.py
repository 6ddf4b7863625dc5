"""Adaptive average pooling in operators that ONNX has."""

import torch
from torch import Tensor, nn


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
