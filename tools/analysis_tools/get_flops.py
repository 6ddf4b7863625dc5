"""Count the parameters and multiply-adds of a classifier, detector or segmentor."""

import argparse
import sys
from collections.abc import Iterator, Sequence

from complexity import Complexity, Cost, measure

from mmdwnet.cli.command import add_cfg_options, read_config, require, run_command
from mmdwnet.errors import UserError

DEPTH = 3


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: Command-line arguments. Defaults to those of the process.

    Returns:
        The exit code: 0, or 2 for bad input.
    """
    return run_command(get_flops, parse_args(argv))


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: Command-line arguments. Defaults to those of the process.

    Returns:
        Options of `get_flops`.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--shape',
        nargs=2,
        type=int,
        metavar=('H', 'W'),
        help="height and width of the image [a classifier's own size, 800 1280 for detectors, "
        '512 2048 for segmentors, as in the paper]',
    )
    parser.add_argument(
        '--by-module', action='store_true', help=f'print the costs of modules, {DEPTH} levels deep'
    )
    parser.add_argument('--depth', type=int, help='print the costs of modules, DEPTH levels deep')
    add_cfg_options(parser)
    return parser.parse_args(argv)


def get_flops(args: argparse.Namespace) -> None:
    """Count and print the costs of a model.

    Args:
        args: Options from `parse_args`.

    Raises:
        UserError: The input is invalid.
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
    """Format costs as table rows, with modules indented below their parents.

    Args:
        complexity: The costs.
        root: Name for the model.
        depth: Levels of modules to show below the model; modules without costs are omitted.

    Yields:
        Name, parameters and multiply-adds.
    """
    for path, cost in complexity.modules.items():
        level = path.count('.') + 1 if path else 0
        if level <= depth and cost != Cost(0, 0):
            name = '  ' * level + (path.rpartition('.')[2] or root)
            yield name, f'{cost.parameters:,}', f'{cost.multiply_adds / 1e9:,.3f} G'


if __name__ == '__main__':
    sys.exit(main())
