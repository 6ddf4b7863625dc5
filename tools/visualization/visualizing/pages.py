"""Pages of pictures, drawn with matplotlib."""

import math
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from mmdwnet.cli.checks import check_file
from mmdwnet.errors import UserError


def check_page(path: str) -> None:
    """Check that a page can be written to a file; leave nothing behind.

    Raises:
        UserError: It cannot, or matplotlib does not know its format.
    """
    known = Figure().canvas.get_supported_filetypes()
    if Path(path).suffix.lower().removeprefix('.') not in known:
        raise UserError(
            f'--out {path}: pages are written as {", ".join(sorted(known))}; name a file such as '
            'page.png'
        )
    check_file(path)


def save(figure: Figure, path: str | Path) -> None:
    """Write a page, make missing folders, and print where it is."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    print(path)


def show_picture(axes: Axes, picture: np.ndarray) -> None:
    """Show a picture (H, W, 3) without axes."""
    axes.imshow(picture)
    axes.set_axis_off()


def tile(kernels: Tensor, columns: int) -> np.ndarray:
    """Lay kernels out row by row, with gaps of NaN between them.

    Args:
        kernels: (kernels, k, k).
        columns: How many there are in a row.

    Returns:
        (rows * (k + 1) - 1, columns * (k + 1) - 1).
    """
    count, k, _ = kernels.shape
    rows = math.ceil(count / columns)
    grid = np.full((rows, k + 1, columns, k + 1), np.nan, np.float32)
    for i, kernel in enumerate(kernels.numpy()):
        grid[i // columns, :k, i % columns, :k] = kernel
    return grid.reshape(rows * (k + 1), columns * (k + 1))[:-1, :-1]


def limit_of(*kernels: Tensor) -> float:
    """Return the value at the ends of a color scale: few kernels have larger ones."""
    values = np.concatenate([kernel.abs().flatten().numpy() for kernel in kernels])
    return float(np.quantile(values, 0.995)) or 1.0


def show_signed(axes: Axes, values: np.ndarray, limit: float) -> Any:
    """Show values by color, red above 0 and blue below; return what a colorbar needs."""
    colors = matplotlib.colormaps['RdBu_r'].with_extremes(bad='#8a8a8a')
    shown = axes.imshow(values, colors, vmin=-limit, vmax=limit, interpolation='nearest')
    axes.set_axis_off()
    return shown
