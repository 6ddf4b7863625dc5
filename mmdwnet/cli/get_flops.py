"""Count the parameters and multiply-adds of a classifier, detector or segmentor."""

import argparse
from collections.abc import Iterator, Sequence

from mmdwnet.apis.complexity import Complexity, Cost, measure
from mmdwnet.errors import UserError

from .command import add_cfg_options, read_config, require, run_command

DEPTH = 3


def main(argv: Sequence[str] | None = None) -> int:
    """Count as the command line says; return 0, or 2 on bad input."""
    return run_command(get_flops, parse_args(argv))


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line, by default the process's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--shape',
        nargs=2,
        type=int,
        metavar=('H', 'W'),
        help="height and width of the image [a classifier's own crop, 800 1280 for detectors, "
        '512 2048 for segmentors, as in the paper]',
    )
    parser.add_argument(
        '--by-module',
        action='store_true',
        help=f'print costs by module, {DEPTH} levels deep',
    )
    parser.add_argument('--depth', type=int, help='the same, to this many levels')
    add_cfg_options(parser)
    return parser.parse_args(argv)


def get_flops(args: argparse.Namespace) -> None:
    """Count, and print the counts.

    Raises:
        UserError: The input is bad.
    """
    if args.depth is not None and args.depth < 0:
        raise UserError(f'--depth {args.depth}: give 0, for the whole model, or more')
    cfg = read_config(args)
    require(cfg, 'model')
    complexity = measure(cfg, None if args.shape is None else tuple(args.shape))
    depth = args.depth
    if depth is None:
        depth = DEPTH if args.by_module else 0
    height, width = complexity.shape
    print(f'{args.config}, for one image of {height} x {width} pixels (height x width)')
    root = getattr(cfg.model.type, '__name__', cfg.model.type)  # a class or its name
    lines = [('module', 'parameters', 'multiply-adds'), *rows(complexity, root, depth)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for name, *numbers in lines:
        cells = [name.ljust(widths[0])]
        cells += [number.rjust(size) for number, size in zip(numbers, widths[1:], strict=True)]
        print('  '.join(cells))


def rows(complexity: Complexity, root: str, depth: int) -> Iterator[tuple[str, str, str]]:
    """Yield name, parameters and multiply-adds of the model and its modules, indented by level.

    Args:
        complexity: The costs.
        root: Name of the model.
        depth: Levels of modules to show below the model; those that cost nothing are left out.
    """
    for path, cost in complexity.modules.items():
        level = path.count('.') + 1 if path else 0
        if level <= depth and cost != Cost(0, 0):
            name = '  ' * level + (path.rpartition('.')[2] or root)
            yield name, f'{cost.parameters:,}', f'{cost.multiply_adds / 1e9:,.3f} G'
