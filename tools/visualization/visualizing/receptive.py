"""Effective receptive fields: which pixels an output depends on, and how much.

Source: Luo et al., "Understanding the Effective Receptive Field in Deep Convolutional Neural
Networks", NeurIPS 2016, https://arxiv.org/abs/1701.04128.
"""

from collections.abc import Sequence
from contextlib import ExitStack

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from mmdwnet.models.mixers import DynamicMixer
from mmdwnet.models.swin_design import PATCH_SIZE, SwinDesign

from .kernels import Mixer, find_mixers


def receptive_fields(backbone: SwinDesign, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Compute how much the central position of each stage's map depends on each pixel.

    Args:
        backbone: The network.
        inputs: Images as for the network, (1, 3, H, W) each; those of another size than the first
            are resized to it.

    Returns:
        For each stage, the absolute gradient of the sum over the central position's channels with
        respect to the input, summed over the input's channels and averaged over the images; divided
        by its maximum. (H, W) on the CPU.
    """
    size, fields = inputs[0].shape[2:], [torch.zeros(inputs[0].shape[2:]) for _ in backbone.layers]
    for image in inputs:
        for field, gradient in zip(fields, _gradients(backbone, image, size), strict=True):
            field += gradient
    return [field / field.max().clamp_min(torch.finfo(field.dtype).tiny) for field in fields]


def _gradients(backbone: SwinDesign, image: Tensor, size: torch.Size) -> list[Tensor]:
    maps: list[Tensor] = []
    with ExitStack() as hooks, torch.enable_grad():
        for layer in backbone.layers:
            hooks.enter_context(
                layer.register_forward_hook(lambda module, given, out: maps.append(out))
            )
        x = F.interpolate(image, size, mode='bilinear', antialias=True).requires_grad_()
        backbone(x)
        centers = [one[0, :, one.shape[2] // 2, one.shape[3] // 2].sum() for one in maps]
        return [
            torch.autograd.grad(center, x, retain_graph=True)[0][0].abs().sum(0).cpu()
            for center in centers
        ]


def support(backbone: SwinDesign, stage: int, cell: tuple[int, int]) -> list[list[int]] | None:
    """Return which pixels a position can depend on.

    Args:
        backbone: The network.
        stage: The stage of the position, from 1.
        cell: Its row and column.

    Returns:
        The first and last row, and the first and last column, which can be outside of the image;
        None where it is not known, or the whole image, as kernels are predicted from it.
    """
    places = find_mixers(backbone)
    blocks = sum(len(layer.blocks) for layer in backbone.layers)  # type: ignore[arg-type, misc]
    if len(places) != blocks or any(isinstance(each.mixer, DynamicMixer) for each in places):
        return None
    bounds = [[row_or_column] * 2 for row_or_column in cell]
    for current in range(stage, 0, -1):
        reach = sum(_side(each.mixer) // 2 for each in places if each.stage == current)
        step = PATCH_SIZE if current == 1 else 2  # from this map to the one before it
        bounds = [
            [(first - reach) * step, (last + reach) * step + step - 1] for first, last in bounds
        ]
    return bounds


def reach_of(field: Tensor, share: float, row: int, column: int) -> int:
    """Return the reach of the smallest square around a pixel that has a share of a field."""
    height, width = field.shape
    rows = (torch.arange(height) - row).abs()
    columns = (torch.arange(width) - column).abs()
    distance = torch.maximum(rows[:, None], columns)
    sums = torch.bincount(distance.flatten(), field.flatten().double()).cumsum(0)
    return int((sums < share * sums[-1]).sum())


def _side(mixer: Mixer) -> int:
    size = mixer.kernel_size
    return size if isinstance(size, int) else size[0]
