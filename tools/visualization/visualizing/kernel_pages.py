"""Pages that show the kernels of mixers, and what stages look at."""

import math
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from torch import Tensor

from .kernels import Place, Point, cells_of, differences, most_different, stride_of
from .models import Shown
from .pages import limit_of, show_picture, show_signed, tile
from .receptive import reach_of

_MOST = 8  # channels of predicted kernels on a page
_COLORS = matplotlib.colormaps['tab10'].colors  # type: ignore[attr-defined]


def static_page(places: Sequence[Place]) -> Figure:
    """Draw all kernels of a stage's static mixers, in a grid for each block."""
    weights = [place.mixer.weight.detach().cpu()[:, 0] for place in places]  # type: ignore
    count, limit = len(weights[0]), limit_of(*weights)
    columns = next(c for c in range(math.isqrt(count - 1) + 1, count + 1) if count % c == 0)
    side = min(max(0.3, 5 / columns), 0.6)  # of a kernel, in inches
    width, height = columns * side, count // columns * side + 0.4
    across = min(len(places), math.ceil((len(places) * height / width) ** 0.5))
    down = math.ceil(len(places) / across)
    figure = Figure((width * across + 1, height * down), layout='constrained')
    grid = figure.subplots(down, across, squeeze=False)
    for axes in grid.flat[len(places) :]:
        axes.set_axis_off()
    for axes, place, weight in zip(grid.flat, places, weights, strict=False):
        shown = show_signed(axes, tile(weight, columns), limit)
        axes.set_title(f'{place.title}: {count} channels', fontsize=10)
    _add_colorbar(figure, shown, grid, 'weight', shrink=min(0.8, 4 / (height * down)))
    return figure


def dynamic_page(place: Place, images: Sequence[Shown], kernels: Tensor) -> Figure:
    """Draw some kernels of a dynamic mixer for each image, and how they deviate from the mean.

    Args:
        place: The mixer.
        images: The images.
        kernels: (images, 1, channels, k, k).
    """
    channels = most_different(kernels, _MOST)
    kernels, total = kernels[:, 0, channels], kernels.shape[2]
    deviations = kernels - kernels.mean(0)
    figure = Figure((11, 0.8 * len(images) + 1.5), layout='constrained')
    grid = figure.subplots(len(images), 3, squeeze=False, width_ratios=(1, 8, 8))
    for row, (axes, image) in enumerate(zip(grid, images, strict=True)):
        show_picture(axes[0], image.picture)
        _number(axes[0], row + 1)
        kept = show_signed(axes[1], tile(kernels[row], _MOST), limit_of(kernels))
        left = show_signed(axes[2], tile(deviations[row], _MOST), limit_of(deviations))
    grid[0, 1].set_title('kernels', fontsize=9)
    grid[0, 2].set_title('kernels minus their mean over the images', fontsize=9)
    _add_colorbar(figure, kept, grid[:, 1], 'weight', location='bottom')
    _add_colorbar(figure, left, grid[:, 2], 'difference of weights', location='bottom')
    figure.suptitle(f'{place.title}: the {len(channels)} of {total} channels that differ most')
    return figure


def inhomogeneous_page(
    place: Place, images: Sequence[Shown], kernels: Tensor, points: Sequence[Point]
) -> Figure:
    """Draw some kernels of an inhomogeneous mixer at points, beside each image.

    Args:
        place: The mixer.
        images: The images.
        kernels: (images, points, groups, k, k).
        points: The points.
    """
    groups = most_different(kernels, _MOST)
    kernels, total = kernels[:, :, groups], kernels.shape[2]
    limit, k = limit_of(kernels), kernels.shape[-1]
    height = max(0.42 * len(points), 1.6)
    figure = Figure((8, (height + 0.1) * len(images) + 1.2), layout='constrained')
    grid = figure.subplots(len(images), 2, squeeze=False, width_ratios=(1, 2))
    for row, (axes, image) in enumerate(zip(grid, images, strict=True)):
        show_picture(axes[0], image.picture)
        _number(axes[0], row + 1)
        _mark(axes[0], image, place.stride, points)
        shown = show_signed(axes[1], tile(kernels[row].flatten(0, 1), len(groups)), limit)
        for i in range(len(points)):
            middle = i * (k + 1) + (k - 1) / 2
            color = _COLORS[i % 10]
            axes[1].text(-2, middle, i + 1, color=color, ha='right', va='center', weight='bold')
    _add_colorbar(figure, shown, grid[:, 1], 'weight', location='bottom')
    figure.suptitle(f'{place.title}: the {len(groups)} of {total} groups that differ most')
    return figure


def differences_page(
    places: Sequence[Place], images: Sequence[Shown], kernels: Sequence[Tensor]
) -> Figure:
    """Draw how far the kernels of each dynamic mixer differ between images."""
    count, across = len(images), min(len(places), 4)
    down = math.ceil(len(places) / across)
    side = max(2.4, 0.36 * count + 0.6)
    figure = Figure((side * across + 0.8, (side + 0.3) * down + 1.4), layout='constrained')
    parts: Any = figure.subfigures(2, 1, height_ratios=(1, (side + 0.3) * down))
    top, bottom = parts
    for i, axes in enumerate(top.subplots(1, count, squeeze=False).flat):
        show_picture(axes, images[i].picture)
        _number(axes, i + 1)
    grid = bottom.subplots(down, across, squeeze=False)
    for axes in grid.flat[len(places) :]:
        axes.set_axis_off()
    matrices = [differences(each).numpy() for each in kernels]
    most = max(matrix.max() for matrix in matrices) or 1
    for axes, place, matrix in zip(grid.flat, places, matrices, strict=False):
        shown = axes.imshow(matrix, 'viridis', vmin=0, vmax=most)
        axes.set_title(place.title, fontsize=9)
        axes.set_xticks(range(count), range(1, count + 1), fontsize=8)
        axes.set_yticks(range(count), range(1, count + 1), fontsize=8)
        for row, column in np.ndindex(matrix.shape):
            value = matrix[row, column]
            color = 'white' if value < 0.6 * most else 'black'
            axes.text(
                column, row, f'{value:.2f}', color=color, fontsize=7, ha='center', va='center'
            )
    label = 'norm of the difference, relative to the kernels'
    bottom.colorbar(shown, ax=grid, label=label, shrink=0.8)
    return figure


def receptive_page(fields: Sequence[Tensor], supports: Sequence[Any], images: int) -> Figure:
    """Draw the effective receptive field of each stage.

    Args:
        fields: For each stage, (H, W), from `receptive_fields`.
        supports: For each stage, the first and last row and the first and last column that the
            output can depend on, or None.
        images: Over how many images the fields are averaged.
    """
    figure = Figure((3 * len(fields) + 0.8, 3.6), layout='constrained')
    grid = figure.subplots(1, len(fields), squeeze=False, sharey=True)[0]
    colors = matplotlib.colormaps['magma'].with_extremes(bad='black', under='black')
    for stage, (axes, field, bounds) in enumerate(zip(grid, fields, supports, strict=True), 1):
        stride = stride_of(stage)
        row, column = (cell * stride + stride // 2 for cell in central_cell(field, stage))
        shown = axes.imshow(field.numpy(), colors, LogNorm(1e-3, 1), interpolation='nearest')
        reach = [reach_of(field, share, row, column) for share in (0.5, 0.95)]
        title = f'stage {stage}\nhalf within ±{reach[0]} px, 95% within ±{reach[1]} px'
        axes.set_title(title, fontsize=9)
        axes.tick_params(labelsize=8)
        if bounds is not None:
            (top, bottom), (left, right) = bounds
            corner, size = (left - 0.5, top - 0.5), (right - left + 1, bottom - top + 1)
            axes.add_patch(
                Rectangle(corner, *size, fill=False, linestyle='--', edgecolor='#5dd0ff')
            )
    _add_colorbar(figure, shown, grid, 'gradient, relative to its maximum', extend='min')
    noun = 'image' if images == 1 else 'images'
    figure.suptitle(f'effective receptive fields of the central position, over {images} {noun}')
    return figure


def central_cell(field: Tensor, stage: int) -> tuple[int, int]:
    """Return row and column of the central position in a stage's map."""
    row, column = (math.ceil(size / stride_of(stage)) // 2 for size in field.shape)
    return row, column


def _number(axes: Axes, number: int) -> None:
    axes.text(-0.1, 0.5, str(number), transform=axes.transAxes, ha='right', va='center')


def _mark(axes: Axes, image: Shown, stride: int, points: Sequence[Point]) -> None:
    """Draw the positions of points in a map of a stride, with the numbers of the points."""
    numbers: dict[tuple[int, int], list[int]] = {}
    for number, cell in enumerate(cells_of(image, stride, points), 1):
        numbers.setdefault(cell, []).append(number)
    for (row, column), those in numbers.items():
        color = _COLORS[(those[0] - 1) % 10]
        left, top = column * stride - 0.5, row * stride - 0.5
        axes.add_patch(Rectangle((left, top), stride, stride, fill=False, color=color, linewidth=2))
        text = axes.text(left + stride, top, ', '.join(map(str, those)), color=color, va='bottom')
        text.set(weight='bold', path_effects=[withStroke(linewidth=2.5, foreground='white')])


def _add_colorbar(figure: Any, shown: Any, grid: np.ndarray, label: str, **options: Any) -> None:
    options = {'shrink': 0.8, 'extend': 'both', **options}
    figure.colorbar(shown, ax=grid, label=label, **options).minorticks_off()
