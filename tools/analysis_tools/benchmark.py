"""Compare classifiers, ours and those of timm, or the operators in mmdwnet.ops, in speed."""

import argparse
import json
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from benchmarking import model_steps, moved_bytes, operator_steps
from benchmarking.model_steps import DTYPES, VARIANTS, Run, parse_entrant
from benchmarking.operator_steps import OPERATORS, Size
from benchmarking.timing import peak_bytes, saved_bytes, time_in_turn
from mmengine import dist
from torch.utils.benchmark import Measurement

from mmdwnet.cli import environment
from mmdwnet.cli.command import add_traceback, run_command
from mmdwnet.errors import UserError

MIB = 2**20
OPERATOR_SECONDS = 0.1  # per round
MODELS = ('dwnet_tiny', 'swin_tiny_patch4_window7_224', 'convnext_tiny', 'resnet50')


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: Command-line arguments. Defaults to those of the process.

    Returns:
        The exit code: 0, or 2 for bad input.
    """
    return run_command(benchmark, parse_args(argv))


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: Command-line arguments. Defaults to those of the process.

    Returns:
        Options of `benchmark`.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--models',
        nargs='+',
        default=MODELS,
        metavar='NAME[:VARIANT][:DTYPE]',
        help='our models by name or config file, optionally with "_nchw" appended (same network, '
        f"authors' memory layout), and models of timm [{' '.join(MODELS)}]",
    )
    parser.add_argument(
        '--operators',
        nargs='*',
        choices=OPERATORS,
        help='time operators instead [all]; --input-size is then the size of the map',
    )
    parser.add_argument(
        '--compile-only',
        metavar='CAPABILITY',
        help='compile the Triton kernels of --operators for a GPU of this compute capability, such '
        'as 9.0, which need not be there; count registers and instructions, predict times',
    )
    parser.add_argument(
        '--bytes',
        action='store_true',
        help='count what --mode train reads and writes per image, instead of timing it',
    )
    parser.add_argument('--mode', choices=('infer', 'train'), default='infer')
    parser.add_argument(
        '--variant',
        default='eager',
        help=f"default for models: {', '.join(VARIANTS)}, or several joined by '+' [eager]",
    )
    parser.add_argument('--dtype', choices=DTYPES, default='float32', help='[float32]')
    parser.add_argument('--batch-size', type=int, default=8, help='per process [8]')
    parser.add_argument('--input-size', type=int, help='height and width [224, or 56]')
    parser.add_argument('--channels', type=int, default=96, help='of operators [96]')
    parser.add_argument('--device', default='cpu', help='for example cuda:0 [cpu]')
    parser.add_argument('--rounds', type=int, default=7, help='[7]')
    parser.add_argument('--baseline', metavar='NAME', help='row to compare with [the first]')
    parser.add_argument('--json', metavar='FILE', help='write all figures to this file')
    parser.add_argument(
        '--launcher',
        choices=environment.LAUNCHERS,
        default='none',
        help='launcher of the processes for data-parallel training',
    )
    add_traceback(parser)
    return parser.parse_args(argv)


def benchmark(args: argparse.Namespace) -> None:
    """Time models or operators and print tables.

    Args:
        args: Options from `parse_args`.

    Raises:
        UserError: The input is invalid.
    """
    for option in ('batch_size', 'input_size', 'rounds', 'channels'):
        if getattr(args, option) is not None and getattr(args, option) < 1:
            raise UserError(f'--{option.replace("_", "-")} {getattr(args, option)}: give 1 or more')
    if args.json and not Path(args.json).parent.is_dir():
        raise UserError(f'--json {args.json}: there is no such folder, create it first')
    if args.compile_only and args.operators is None:
        raise UserError('--compile-only is for operators: add --operators')
    if args.bytes and (args.operators is not None or args.mode != 'train'):
        raise UserError('--bytes is for --mode train and models')
    device = _device(args.device)
    if args.launcher != 'none' and (args.operators is not None or args.mode != 'train'):
        raise UserError(f'--launcher {args.launcher} is for --mode train and models: leave it out')
    with environment.processes(args.launcher):
        machine = describe_machine(device)
        if args.bytes:
            tables = {'models': count_bytes(args, device)}
        elif args.operators is None:
            tables = {'models': time_models(args, device)}
        elif args.compile_only:
            tables = compile_operators(args)
        else:
            tables = time_operators(args, device)
        if dist.is_main_process():
            report(args, machine, tables)


def report(
    args: argparse.Namespace, machine: Mapping[str, str | int], tables: Mapping[str, list[dict]]
) -> None:
    """Print tables, and write the JSON file if requested.

    Args:
        args: Options from `parse_args`.
        machine: Description of the machine.
        tables: Rows of figures by table name.
    """
    print(', '.join(f'{key} {value}' for key, value in machine.items()))
    for name, rows in tables.items():
        print(f'\n{name}, {args.mode}, {args.batch_size} images')
        print('\n'.join(format_table(rows)))
    if args.json:
        written = dict(machine=machine, options=vars(args), tables=tables)
        Path(args.json).write_text(json.dumps(written, indent=2) + '\n')


def time_models(args: argparse.Namespace, device: torch.device) -> list[dict]:
    """Time models.

    Args:
        args: Options from `parse_args`.
        device: Device to run on.

    Returns:
        A row of figures per model.

    Raises:
        UserError: A model is unknown or cannot be run, or the baseline is not among the models.
    """
    entrants = {text: parse_entrant(text, args.variant, args.dtype) for text in args.models}
    baseline = _baseline(args.baseline, entrants)
    run = Run(args.mode, args.batch_size, args.input_size or 224, device)
    made = {label: model_steps.prepare(entrant, run) for label, entrant in entrants.items()}
    times = time_in_turn({label: steps.step for label, steps in made.items()}, args.rounds, 0)
    rows = []
    for label, steps in made.items():
        row = _figures(label, times, baseline)
        row['images/s'] = args.batch_size * dist.get_world_size() / times[label].median
        row['variant'] = '+'.join(sorted(entrants[label].variants))
        row['dtype'] = entrants[label].dtype
        row['memory format'] = steps.memory_format
        if args.mode == 'train':
            row['saved MiB'] = saved_bytes(steps.forward, steps.parameters) / MIB
        if device.type == 'cuda':
            row['peak MiB'] = peak_bytes(steps.step, device) / MIB
        rows.append(row)
    return rows


def count_bytes(args: argparse.Namespace, device: torch.device) -> list[dict]:
    """Count the bytes that forward pass, loss and backward pass of models read and write.

    Args:
        args: Options from `parse_args`.
        device: Device to run on.

    Returns:
        A row of figures per model.

    Raises:
        UserError: A model is unknown or cannot be run.
    """
    run = Run('train', args.batch_size, args.input_size or 224, device)
    rows = []
    for text in args.models:
        entrant = parse_entrant(text, args.variant, args.dtype)
        with moved_bytes.compiled_bytes() as compiled:
            steps = model_steps.prepare(entrant, run)
        for parameter in steps.parameters:
            parameter.grad = None
        with moved_bytes.MovedBytes() as eager:
            loss = steps.forward()
            assert isinstance(loss, torch.Tensor)
            loss.backward()
        counts = compiled if 'compiled' in entrant.variants else eager.by_operator
        per_image = {key: value / args.batch_size / MIB for key, value in counts.most_common()}
        row: dict = {'name': text, 'MiB / image': sum(per_image.values())}
        row['most'] = ', '.join(f'{key} {value:.1f}' for key, value in list(per_image.items())[:5])
        rows.append(row)
    return rows


def time_operators(args: argparse.Namespace, device: torch.device) -> dict[str, list[dict]]:
    """Time operators.

    Args:
        args: Options from `parse_args`.
        device: Device to run on.

    Returns:
        For each operator, a row of figures per implementation.

    Raises:
        UserError: An operator cannot be run, or the baseline is not among its implementations.
    """
    side = args.input_size or 56
    size = Size(args.batch_size, args.channels, side, side)
    tables = {}
    for name in args.operators or OPERATORS:
        baseline = _baseline(args.baseline, OPERATORS[name].ways)
        try:
            made = operator_steps.prepare(name, size, args.mode, DTYPES[args.dtype], device)
        except RuntimeError as error:
            raise UserError(
                f'the operator {name} cannot be run on {size} in {args.dtype} on {device}: '
                f'{str(error).splitlines()[0]}'
            ) from error
        copy = operator_steps.copy_step(device)
        steps = {way: made[way].step for way in made}
        times = time_in_turn({**steps, 'copy': copy.step}, args.rounds, OPERATOR_SECONDS)
        copied = copy.must_move / times['copy'].median
        rows = []
        for way in made:
            row = _figures(way, times, baseline)
            bandwidth = made[way].must_move / times[way].median
            row['GB/s'] = bandwidth / 1e9
            row['% of a copy'] = 100 * bandwidth / copied
            row['peak MiB'] = peak_bytes(made[way].step, device) / MIB
            rows.append(row)
        tables[f'{name} {size}'] = rows
    return tables


def compile_operators(args: argparse.Namespace) -> dict[str, list[dict]]:
    """Compile the Triton kernels of operators for a GPU that need not be there.

    Args:
        args: Options from `parse_args`.

    Returns:
        A row of figures per kernel.

    Raises:
        UserError: There is no Triton, or the GPU or the number of channels is invalid.
    """
    try:
        from benchmarking import compile_only
    except ImportError as error:
        raise UserError(f'--compile-only needs Triton: {error}') from error
    gpus = {f'{number / 10}': number for number in compile_only.GPUS}
    if args.compile_only not in gpus:
        raise UserError(f'--compile-only {args.compile_only}: give one of {", ".join(gpus)}')
    side = args.input_size or 56
    size = Size(args.batch_size, args.channels, side, side)
    if size.c % size.groups:
        raise UserError(f'--channels {size.c}: give a multiple of {size.groups}')
    capability, dtype = gpus[args.compile_only], DTYPES[args.dtype]
    rows = [
        {'name': name, **compile_only.figures(launch, size, dtype, capability)}
        for name, launch in compile_only.launches(size, dtype)
        if not args.operators or name.split()[0] in args.operators
    ]
    return {f'kernels on {compile_only.GPUS[capability][0]}, {size}, {args.dtype}': rows}


def describe_machine(device: torch.device) -> dict[str, str | int]:
    """Describe the machine for the report.

    Args:
        device: Device that the figures are measured on.

    Returns:
        Versions and numbers by name.
    """
    on_cuda = device.type == 'cuda'
    named = torch.cuda.get_device_name(device) if on_cuda else platform.machine()
    return {
        'torch': torch.__version__,
        'device': f'{device} ({named})',
        'processes': dist.get_world_size(),
        'threads': torch.get_num_threads(),
    }


def format_table(rows: Sequence[Mapping[str, str | float]]) -> list[str]:
    """Format rows as a Markdown table.

    Args:
        rows: Values by column, with the same columns in each row.

    Returns:
        The lines.
    """
    lines = [list(rows[0]), ['---'] * len(rows[0])]
    for row in rows:
        lines.append([v if isinstance(v, str) else f'{v:.4g}' for v in row.values()])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        f'| {" | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True))} |'
        for line in lines
    ]


def _figures(name: str, times: Mapping[str, Measurement], baseline: str) -> dict:
    measured = times[name]
    return {
        'name': name,
        'ms': measured.median * 1e3,
        'spread ms': measured.iqr * 1e3,  # interquartile range
        f'speed / {baseline}': times[baseline].median / measured.median,
    }


def _baseline(given: str | None, names: Mapping[str, object]) -> str:
    if given is not None and given not in names:
        raise UserError(f'--baseline {given} is not timed: give one of {", ".join(names)}')
    return given or next(iter(names))


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f'there is no device {name}: {str(error).splitlines()[0]}; give cpu or cuda:N'
        ) from error
    return device


if __name__ == '__main__':
    sys.exit(main())
