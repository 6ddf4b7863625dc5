"""Draw the kernels of a DWNet's mixers, and what its stages look at."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from visualizing import kernel_pages as pages
from visualizing.kernels import Place, Point, find_backbone, find_mixers, predict
from visualizing.models import Shown, add_model_options, see
from visualizing.pages import save
from visualizing.receptive import receptive_fields, support

from mmdwnet.apis.inferencers import make_inferencer
from mmdwnet.cli.checks import check_folder
from mmdwnet.cli.command import read_config, require, run_command
from mmdwnet.errors import UserError
from mmdwnet.models.mixers import DynamicMixer, InhomogeneousMixer, StaticMixer
from mmdwnet.models.swin_design import SwinDesign

_POINTS = ['0.5,0.5', '0.25,0.25', '0.75,0.25', '0.25,0.75', '0.75,0.75']


def main(argv: Sequence[str] | None = None) -> int:
    """Draw as the command line says; return 0, or 2 on bad input."""
    return run_command(draw, parse_args(argv))


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line, by default the process's."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_model_options(parser, images='*')
    parser.add_argument('--out', default='mixers', help='folder for the pages [mixers]')
    parser.add_argument(
        '--points',
        nargs='+',
        metavar='X,Y',
        default=_POINTS,
        help="where to show an inhomogeneous mixer's kernels, as shares of the image's width and "
        'height [the center, and the centers of the four quarters]',
    )
    return parser.parse_args(argv)


def draw(args: argparse.Namespace) -> None:
    """Draw and write all pages.

    Raises:
        UserError: The input is bad, or there is nothing to draw.
    """
    points = [_parse_point(each) for each in args.points]
    check_folder(args.out)
    cfg = read_config(args)
    require(cfg, 'model')
    inferencer = make_inferencer(cfg, args.checkpoint, args.device)
    backbone = find_backbone(inferencer.model)
    places = find_mixers(backbone)
    if not args.images and not all(isinstance(each.mixer, StaticMixer) for each in places):
        raise UserError(
            f'the kernels of {args.config} are predicted for each image: give images after the '
            'checkpoint'
        )
    if not args.images and not places:
        raise UserError(
            f'the mixers of {args.config} are none of the paper, and have no kernels to draw: give '
            'images after the checkpoint, to see the effective receptive fields'
        )
    images = see(inferencer, args)
    for name, page in _pages(backbone, places, images, points):
        save(page, Path(args.out, f'{name}.png'))
    if not images:
        print('with images after the checkpoint, there would be effective receptive fields, too')


def _pages(
    backbone: SwinDesign, places: list[Place], images: list[Shown], points: list[Point]
) -> Iterator[tuple[str, Figure]]:
    """Yield the name of each page, and the page."""
    stages = range(1, len(backbone.layers) + 1)
    for stage in stages:
        if static := [each for each in _of(StaticMixer, places) if each.stage == stage]:
            yield f'static_stage{stage}', pages.static_page(static)
    predicted = [*_of(DynamicMixer, places), *_of(InhomogeneousMixer, places)]
    kernels = dict(zip(predicted, predict(backbone, predicted, images, points), strict=True))
    # The last mixer of each stage.
    for stage, place in {each.stage: each for each in _of(DynamicMixer, places)}.items():
        yield f'dynamic_stage{stage}', pages.dynamic_page(place, images, kernels[place])
    for stage, place in {each.stage: each for each in _of(InhomogeneousMixer, places)}.items():
        page = pages.inhomogeneous_page(place, images, kernels[place], points)
        yield f'inhomogeneous_stage{stage}', page
    if dynamic := _of(DynamicMixer, places):
        page = pages.differences_page(dynamic, images, [kernels[each] for each in dynamic])
        yield 'dynamic_differences', page
    if images:
        fields = receptive_fields(backbone, [image.inputs for image in images])
        bounds = [
            support(backbone, stage, pages.central_cell(field, stage))
            for stage, field in zip(stages, fields, strict=True)
        ]
        yield 'receptive_fields', pages.receptive_page(fields, bounds, len(images))


def _of(kind: type, places: list[Place]) -> list[Place]:
    return [place for place in places if isinstance(place.mixer, kind)]


def _parse_point(text: str) -> Point:
    try:
        x, y = map(float, text.split(','))
    except ValueError:
        x = y = -1
    if not (0 <= x <= 1 and 0 <= y <= 1):
        raise UserError(
            f'--points {text}: give X,Y from 0 to 1 for each, such as 0.5,0.5 for the center'
        )
    return x, y


if __name__ == '__main__':
    sys.exit(main())
