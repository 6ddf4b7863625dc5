"""Times classifiers, ours and timm's, or the operators of mmdwnet.ops, side by side."""

import argparse
import json
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from benchmarking import model_steps, operator_steps
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
    """Times what the command line says.

    Args:
        argv: Arguments of the command; by default the process's.

    Returns:
        The exit code: 0, or 2 on bad input.
    """
    return run_command(benchmark, parse_args(argv))


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line.

    Args:
        argv: Arguments of the command; by default the process's.

    Returns:
        The command line, as `benchmark` takes it.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--models',
        nargs='+',
        default=MODELS,
        metavar='NAME[:VARIANT][:DTYPE]',
        help='our names or config files, those + "_nchw" (the same network in the layout of its '
        f'authors), and names of timm [{" ".join(MODELS)}]',
    )
    parser.add_argument(
        '--operators',
        nargs='*',
        choices=OPERATORS,
        help='time operators instead [all of them]; --input-size is that of the map then',
    )
    parser.add_argument('--mode', choices=('infer', 'train'), default='infer')
    parser.add_argument(
        '--variant',
        default='eager',
        help=f"where a model names none: {', '.join(VARIANTS)}, or several joined by '+' [eager]",
    )
    parser.add_argument('--dtype', choices=DTYPES, default='float32', help='[float32]')
    parser.add_argument('--batch-size', type=int, default=8, help='of each process [8]')
    parser.add_argument('--input-size', type=int, help='height and width [224, or 56]')
    parser.add_argument('--channels', type=int, default=96, help='of operators [96]')
    parser.add_argument('--device', default='cpu', help='such as cuda:0 [cpu]')
    parser.add_argument('--rounds', type=int, default=7, help='[7]')
    parser.add_argument('--baseline', metavar='NAME', help='what to compare with [the first]')
    parser.add_argument('--json', metavar='FILE', help='write all figures there')
    parser.add_argument(
        '--launcher',
        choices=environment.LAUNCHERS,
        default='none',
        help='what starts several processes, in which models train data-parallel',
    )
    add_traceback(parser)
    return parser.parse_args(argv)


def benchmark(args: argparse.Namespace) -> None:
    """Times, and prints tables.

    Args:
        args: The command line, as `parse_args` reads it.

    Raises:
        UserError: The input is bad.
    """
    for option in ('batch_size', 'input_size', 'rounds', 'channels'):
        if getattr(args, option) is not None and getattr(args, option) < 1:
            raise UserError(f'--{option.replace("_", "-")} {getattr(args, option)}: give 1 or more')
    if args.json and not Path(args.json).parent.is_dir():
        raise UserError(f'--json {args.json}: there is no such folder, make it first')
    device = _device(args.device)
    if args.launcher != 'none' and (args.operators is not None or args.mode != 'train'):
        raise UserError(f'--launcher {args.launcher} is for --mode train and models: leave it out')
    with environment.processes(args.launcher):
        machine = describe_machine(device)
        if args.operators is None:
            tables = {'models': time_models(args, device)}
        else:
            tables = time_operators(args, device)
        if dist.is_main_process():
            report(args, machine, tables)


def report(
    args: argparse.Namespace, machine: Mapping[str, str | int], tables: Mapping[str, list[dict]]
) -> None:
    """Prints tables, and writes the file that was asked for.

    Args:
        args: The command line, as `parse_args` reads it.
        machine: What figures were measured on.
        tables: Rows of figures by what was timed.
    """
    print(', '.join(f'{key} {value}' for key, value in machine.items()))
    for name, rows in tables.items():
        print(f'\n{name}, {args.mode}, {args.batch_size} images')
        print('\n'.join(format_table(rows)))
    if args.json:
        written = dict(machine=machine, options=vars(args), tables=tables)
        Path(args.json).write_text(json.dumps(written, indent=2) + '\n')


def time_models(args: argparse.Namespace, device: torch.device) -> list[dict]:
    """Times models.

    Args:
        args: The command line, as `parse_args` reads it.
        device: Where.

    Returns:
        A row of figures per model.

    Raises:
        UserError: A model is unknown or cannot be run so, or the baseline is none of them.
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


def time_operators(args: argparse.Namespace, device: torch.device) -> dict[str, list[dict]]:
    """Times operators.

    Args:
        args: The command line, as `parse_args` reads it.
        device: Where.

    Returns:
        For each operator, a row of figures per way to compute it.

    Raises:
        UserError: The operators cannot be run so, or the baseline is no way to compute one.
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


def describe_machine(device: torch.device) -> dict[str, str | int]:
    """Says what figures were measured on.

    Args:
        device: Where.

    Returns:
        Names and numbers by what they are.
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
    """Writes rows as a Markdown table.

    Args:
        rows: Values by column, the same columns in all.

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
            f'there is no device {name}: {str(error).splitlines()[0]}; give cpu, or such as cuda:0'
        ) from error
    return device


if __name__ == '__main__':
    sys.exit(main())
