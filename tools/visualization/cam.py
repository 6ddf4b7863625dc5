"""Draw which parts of an image a class is recognized by, with the package grad-cam."""

import argparse
import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from visualizing.models import Shown, add_model_options, see
from visualizing.pages import check_page, save, show_picture

from mmdwnet.apis.inferencers import make_inferencer
from mmdwnet.cli.command import read_config, require, run_command
from mmdwnet.errors import UserError
from mmdwnet.models.swin_design import SwinDesign

METHODS = ('GradCAM', 'GradCAMPlusPlus', 'HiResCAM', 'LayerCAM')
Explained = tuple[Shown, np.ndarray, str]
_PER_ROW = 2  # images, with their maps beside them


def main(argv: Sequence[str] | None = None) -> int:
    """Draw as the command line says; return 0, or 2 on bad input."""
    return run_command(draw, parse_args(argv))


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line, by default the process's."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_model_options(parser, images='+')
    parser.add_argument(
        '--class',
        dest='label',
        metavar='CLASS',
        help='name or index of the class [the one predicted; for a segmentor, for most pixels]',
    )
    parser.add_argument(
        '--layer', help='module with the maps to weight, such as backbone.layers.2 [the last stage]'
    )
    parser.add_argument('--method', choices=METHODS, default='GradCAM', help='how [GradCAM]')
    parser.add_argument('--out', default='cam.png', help='file for the page [cam.png]')
    return parser.parse_args(argv)


def draw(args: argparse.Namespace) -> None:
    """Draw and write the page.

    Raises:
        UserError: The input is bad, or grad-cam is not installed.
    """
    _grad_cam()
    check_page(args.out)
    cfg = read_config(args)
    require(cfg, 'model')
    if cfg.default_scope == 'mmdet':
        raise UserError(f'{args.config} is of a detector: give a classifier or a segmentor')
    inferencer = make_inferencer(cfg, args.checkpoint, args.device)
    model = inferencer.model
    layer = _find_layer(model, args.layer)
    label = _find_class(args.label, model.dataset_meta['classes'])
    save(_page(explain(model, see(inferencer, args), layer, args.method, label)), args.out)


def explain(
    model: nn.Module, images: Sequence[Shown], layer: nn.Module, method: str, label: int | None
) -> list[Explained]:
    """Compute where in images the score of a class comes from.

    Args:
        model: A classifier or a segmentor, with its classes in `dataset_meta`.
        images: The images.
        layer: The module whose maps are weighted.
        method: One of `METHODS`.
        label: Index of the class; None for the one that is predicted.

    Returns:
        For each image, the image, the map (H, W) from 0 to 1, and the name and score of the class.

    Raises:
        UserError: The layer gives no maps.
    """
    classes = model.dataset_meta['classes']  # type: ignore[index]
    explained = []
    with getattr(_grad_cam(), method)(model, [layer]) as cam:
        for image in images:
            maps: list[Any] = []
            hook = layer.register_forward_hook(lambda *args, maps=maps: maps.append(args[-1]))
            with hook, torch.no_grad():
                scores = model(image.inputs)[0].softmax(0)
            if not maps or not isinstance(maps[0], Tensor) or maps[0].ndim != 4:
                raise UserError(
                    f'--layer: {type(layer).__name__} gives no maps (N, C, H, W); name another '
                    'module, such as backbone.layers.2'
                )
            target = _Target(scores, label)
            # Even if the parameters are frozen, the maps need gradients.
            heat = cam(image.inputs.requires_grad_(), [target])[0]
            name = classes[target.label] if classes else str(target.label)
            explained.append((image, heat, f'class {name}, {target.told}'))
    return explained


def _grad_cam() -> Any:
    try:
        import pytorch_grad_cam
    except ModuleNotFoundError as error:
        if error.name != 'pytorch_grad_cam':
            raise
        raise UserError('this needs the package grad-cam: pip install grad-cam') from error
    return pytorch_grad_cam


class _Target:
    """What is explained: the score of a class, for a segmentor in all pixels that it is there.

    Args:
        scores: Of all classes, (classes, ) of a classifier or (classes, H, W) of a segmentor.
        label: Index of the class; None for the one that is predicted.
    """

    def __init__(self, scores: Tensor, label: int | None) -> None:
        if scores.ndim == 1:
            self.label = int(scores.argmax()) if label is None else label
            self.told, self.mask = f'score {scores[self.label]:.2f}', None
            return
        predicted = scores.argmax(0)
        self.label = int(predicted.flatten().mode().values) if label is None else label
        self.mask = (predicted == self.label).float()
        self.told = f'{self.mask.mean():.0%} of the pixels'

    def __call__(self, output: Tensor) -> Tensor:
        found = output[self.label]
        return found if self.mask is None else (found * self.mask).sum()


def _find_layer(model: nn.Module, name: str | None) -> nn.Module:
    if name is None:
        backbone = model.backbone
        if not isinstance(backbone, SwinDesign):
            raise UserError(
                f'the backbone is {type(backbone).__name__}: give --layer, a module whose output '
                'are maps (N, C, H, W)'
            )
        return backbone.layers[-1]
    modules = dict(model.named_modules())
    if name not in modules:
        near = [each for each in modules if each.count('.') <= 2 and each.startswith('backbone')]
        raise UserError(f'--layer {name}: the model has {", ".join(near)}, and others')
    return modules[name]


def _find_class(given: str | None, classes: Sequence[str] | None) -> int | None:
    names = list(classes or ())
    if given is None:
        return None
    if given in names:
        return names.index(given)
    if given.isdecimal() and (not names or int(given) < len(names)):
        return int(given)
    raise UserError(f'--class {given}: give a name or an index of {", ".join(names)}')


def _page(drawn: Sequence[Explained]) -> Figure:
    """Lay out each image with its map beside it."""
    down = math.ceil(len(drawn) / _PER_ROW)
    figure = Figure((5.2 * min(len(drawn), _PER_ROW) + 0.8, 2.8 * down), layout='constrained')
    grid = figure.subplots(down, 2 * min(len(drawn), _PER_ROW), squeeze=False)
    pairs: Any = grid.reshape(-1, 2)
    for axes in grid.flat:
        axes.set_axis_off()
    for (left, right), (image, heat, title) in zip(pairs, drawn, strict=False):
        height, width = image.picture.shape[:2]
        show_picture(left, image.picture)
        left.set_title(title, fontsize=10)
        show_picture(right, image.picture.mean(2, keepdims=True).repeat(3, 2).astype(np.uint8))
        shown = right.imshow(heat[:height, :width], 'inferno', vmin=0, vmax=1, alpha=0.6)
    figure.colorbar(shown, ax=grid, label='weight of the place, relative', shrink=0.7)
    return figure


if __name__ == '__main__':
    sys.exit(main())
