"""Options of commands that show a trained model, and images as its network gets them."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from mmdwnet.apis.sources import find_images, naming
from mmdwnet.cli.command import add_cfg_options
from mmdwnet.errors import UserError

Item = TypeVar('Item')


@dataclass(frozen=True, eq=False)
class Shown:
    """An image as a network gets it.

    Attributes:
        picture: After the pipeline of the test, (H, W, 3), uint8, RGB.
        inputs: The same normalized and padded at the bottom and right, (1, 3, H', W').
    """

    picture: np.ndarray
    inputs: Tensor


def add_model_options(parser: argparse.ArgumentParser, images: str) -> None:
    """Add the arguments of a command that shows a trained model.

    Args:
        parser: Of the command.
        images: How many images it takes, as `nargs`.
    """
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint of the trained model')
    parser.add_argument('images', nargs=images, help='files, folders and addresses of images')
    parser.add_argument(
        '--limit', type=int, default=8, help='images to use, spread evenly over those given [8]'
    )
    parser.add_argument('--device', help='such as cpu or cuda:1 [a GPU if there is one]')
    add_cfg_options(parser)


def see(inferencer: Any, args: argparse.Namespace) -> list[Shown]:
    """Prepare the images of a command line as in the model's test.

    Raises:
        UserError: There is no such image, or one cannot be read.
    """
    if args.limit < 1:
        raise UserError(f'--limit {args.limit}: give 1 or more')
    shown = []
    for source in spread(list(find_images(args.images)), args.limit):
        pixels = source.read()
        with naming(source.path):
            (data,) = inferencer.preprocess([pixels])
        if not isinstance(data, dict):  # mmdet's returns the image, too
            data = data[1]
        picture = data['inputs'][0].flip(0).clamp(0, 255).byte().permute(1, 2, 0).numpy()
        with torch.no_grad():
            inputs = inferencer.model.data_preprocessor(data)['inputs']
        shown.append(Shown(picture, inputs))
    return shown


def spread(items: Sequence[Item], count: int) -> Sequence[Item]:
    """Choose some items, at equal distances from the first to the last."""
    if count >= len(items):
        return items
    return [items[i] for i in np.linspace(0, len(items) - 1, count).round().astype(int)]
