"""Draw what the training pipeline of a config feeds: images with their annotations."""

import argparse
import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.registry import DATASETS, VISUALIZERS, DefaultScope
from mmengine.runner import set_random_seed
from visualizing.models import spread
from visualizing.pages import check_page, save, show_picture

from mmdwnet.apis.inferencers import VISUALIZERS as NAMES
from mmdwnet.cli.checks import check_data
from mmdwnet.cli.command import add_cfg_options, read_config, require, run_command
from mmdwnet.cli.data import known_classes, with_checks
from mmdwnet.datasets.samples import Guarded
from mmdwnet.errors import DataError, UserError


def main(argv: Sequence[str] | None = None) -> int:
    """Draw as the command line says; return 0, or 2 on bad input."""
    return run_command(browse, parse_args(argv))


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line, by default the process's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--split', choices=('train', 'val', 'test'), default='train', help='which data [train]'
    )
    parser.add_argument(
        '--number', type=int, default=12, help='samples to draw, spread evenly over the data [12]'
    )
    parser.add_argument(
        '--repeat', type=int, default=1, help='how often to draw each, augmented anew [1]'
    )
    parser.add_argument('--seed', type=int, default=0, help='of the augmentation [0]')
    parser.add_argument('--out', default='browse.png', help='file for the page [browse.png]')
    add_cfg_options(parser)
    return parser.parse_args(argv)


def browse(args: argparse.Namespace) -> None:
    """Read samples as a training does, draw them, and write the page.

    Raises:
        UserError: The input is bad, or the data are.
    """
    for name in ('number', 'repeat'):
        if getattr(args, name) < 1:
            raise UserError(f'--{name} {getattr(args, name)}: give 1 or more')
    check_page(args.out)
    cfg = read_config(args)
    require(cfg, 'model', f'{args.split}_dataloader')
    check_data(cfg, args.split)
    set_random_seed(args.seed)
    pictures = draw_samples(cfg, args.split, args.number, args.repeat)
    save(_page(pictures, args.repeat), args.out)


def draw_samples(cfg: Config, split: str, number: int, repeat: int) -> list[np.ndarray]:
    """Draw samples with their annotations, by the visualizer of their library.

    Args:
        cfg: The config.
        split: 'train', 'val' or 'test'.
        number: How many samples, spread evenly over the data.
        repeat: How often to read each.

    Returns:
        The pictures, (H, W, 3), uint8, RGB; those of a sample follow each other.

    Raises:
        DataError: A sample is at fault.
    """
    drawn = []
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        dataset = DATASETS.build(with_checks(cfg[f'{split}_dataloader'].dataset, skip=False))
        if hasattr(dataset, 'full_init'):
            dataset.full_init()
        given = cfg.get('visualizer') or dict(type=NAMES[cfg.default_scope])
        visualizer = VISUALIZERS.build({**given, 'vis_backends': None, 'name': 'browse'})
        visualizer.dataset_meta = dict(dataset.metainfo)
        samples = Guarded(dataset, classes=known_classes(cfg))
        for index in spread(range(len(dataset)), number):
            for _ in range(repeat):
                sample, faults = samples[index]
                if sample is None:
                    raise DataError(f'{faults[0][1]}: replace it, or leave it out')
                drawn.append(_draw_sample(visualizer, sample, cfg.default_scope))
    return drawn


def _draw_sample(visualizer: Any, sample: dict, library: str) -> np.ndarray:
    pixels = sample['inputs'].flip(0).clamp(0, 255).byte().permute(1, 2, 0)
    picture, annotations = np.ascontiguousarray(pixels.numpy()), sample['data_samples']
    if library == 'mmpretrain':
        enlarged = max(224, min(picture.shape[:2]))  # so that the label can be read
        return visualizer.visualize_cls(picture, annotations, resize=enlarged)
    if library == 'mmdet':
        from mmdet.structures.bbox import get_box_tensor

        # Its visualizer takes tensors alone.
        annotations.gt_instances.bboxes = get_box_tensor(annotations.gt_instances.bboxes)
    visualizer.add_datasample('sample', picture, annotations, draw_pred=False)
    return visualizer.get_image()


def _page(pictures: list[np.ndarray], repeat: int) -> Figure:
    """Lay pictures out four to three, or in a row for each sample that is repeated."""
    across = repeat if repeat > 1 else math.ceil((len(pictures) * 4 / 3) ** 0.5)
    down = math.ceil(len(pictures) / across)
    side = min(max(3.2, *(max(picture.shape) / 100 for picture in pictures)), 5)
    figure = Figure((side * across, side * down), layout='constrained')
    grid = list(figure.subplots(down, across, squeeze=False).flat)
    for axes in grid:
        axes.set_axis_off()
    for axes, picture in zip(grid, pictures, strict=False):
        show_picture(axes, picture)
    return figure


if __name__ == '__main__':
    sys.exit(main())
