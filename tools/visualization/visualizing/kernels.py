"""The kernels of a DWNet's mixers: learned ones, and those predicted for images."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmdwnet.errors import UserError
from mmdwnet.models.mixers import DynamicMixer, InhomogeneousMixer, StaticMixer
from mmdwnet.models.swin_design import PATCH_SIZE, SwinDesign

from .models import Shown

Mixer = StaticMixer | DynamicMixer | InhomogeneousMixer
Point = tuple[float, float]  # x and y, as shares of a picture's width and height


@dataclass(frozen=True, eq=False)
class Place:
    """A mixer, and where it is in its network; stages and blocks count from 1."""

    stage: int
    block: int
    mixer: Mixer

    @property
    def title(self) -> str:
        """Return where it is, in words."""
        return f'stage {self.stage}, block {self.block}'

    @property
    def stride(self) -> int:
        """Return how many pixels there are from one position of its map to the next."""
        return stride_of(self.stage)


def stride_of(stage: int) -> int:
    """Return how many pixels there are from one position of a stage's map to the next."""
    return PATCH_SIZE * 2 ** (stage - 1)


def find_backbone(model: nn.Module) -> SwinDesign:
    """Return the backbone of a model.

    Raises:
        UserError: It is not one of mmdwnet's.
    """
    backbone = getattr(model, 'backbone', None)
    if not isinstance(backbone, SwinDesign):
        raise UserError(
            f'the backbone of the model is {type(backbone).__name__}, which has no mixers: give '
            'the config of a model with DWNet'
        )
    return backbone


def find_mixers(backbone: SwinDesign) -> list[Place]:
    """Find the mixers of the paper in a backbone, in their order; others have no kernels."""
    return [
        Place(stage, block, module)
        for stage, layer in enumerate(backbone.layers, 1)
        for block, part in enumerate(layer.blocks, 1)  # type: ignore[arg-type]
        for module in part.modules()
        if isinstance(module, Mixer)
    ]


def predict(
    backbone: SwinDesign, places: Sequence[Place], images: Sequence[Shown], points: Sequence[Point]
) -> list[Tensor]:
    """Return the kernels that mixers predict for images.

    Args:
        backbone: The network.
        places: Its dynamic or inhomogeneous mixers.
        images: The images.
        points: Where an inhomogeneous mixer's kernels are wanted; a dynamic one has the same ones
            everywhere.

    Returns:
        For each mixer, (images, points, groups, k, k), or (images, 1, channels, k, k) of a dynamic
        one, on the CPU.
    """
    found: list[list[Tensor]] = [[] for _ in places]

    def keep(place: Place, to: list[Tensor]) -> Callable[[nn.Module, tuple, Tensor], None]:
        def hook(module: nn.Module, given: tuple, predicted: Tensor) -> None:
            k, cells = place.mixer.kernel_size, [(0, 0)]
            if isinstance(place.mixer, InhomogeneousMixer):
                cells = cells_of(image, place.stride, points)
            rows, columns = zip(*cells, strict=True)
            kernels = predicted[0].unflatten(0, (-1, k, k))[..., rows, columns]
            to.append(kernels.permute(3, 0, 1, 2).cpu())

        return hook

    with ExitStack() as hooks, torch.no_grad():
        for place, to in zip(places, found, strict=True):
            predictor = place.mixer.get_submodule('conv2')
            hooks.enter_context(predictor.register_forward_hook(keep(place, to)))
        for image in images:
            backbone(image.inputs)
    return [torch.stack(each) for each in found]


def cells_of(image: Shown, stride: int, points: Sequence[Point]) -> list[tuple[int, int]]:
    """Return row and column, in a map of a stride, of points in a picture."""
    height, width = image.picture.shape[:2]
    return [
        (min(int(y * height), height - 1) // stride, min(int(x * width), width - 1) // stride)
        for x, y in points
    ]


def most_different(kernels: Tensor, count: int) -> Tensor:
    """Return the indices, in order, of those channels whose kernels differ most.

    Args:
        kernels: (..., channels, k, k).
        count: How many.

    Returns:
        (count, ), or fewer.
    """
    deviation = kernels.flatten(0, -4).std(0, correction=0).square().sum((1, 2))
    return deviation.topk(min(count, len(deviation))).indices.sort().values


def differences(kernels: Tensor) -> Tensor:
    """Compare the kernels of images by the norm of their difference.

    Args:
        kernels: (images, ...).

    Returns:
        (images, images), relative to the mean norm of the two: 0 for the same kernels, about 1.4
        for unrelated ones, 2 for opposite ones.
    """
    flat = kernels.flatten(1).double()
    norms = flat.norm(dim=1)
    mean = (norms[:, None] + norms) / 2
    between = torch.stack([(flat - one).norm(dim=1) for one in flat])  # cdist would round more
    return between / mean.clamp_min(torch.finfo(mean.dtype).tiny)
