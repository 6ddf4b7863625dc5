"""Converts the authors' checkpoints to OpenMMLab's naming, and back."""

import argparse
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from mmdwnet.checkpoints import official
from mmdwnet.checkpoints.reading import read_foreign
from mmdwnet.errors import UserError

from .checks import check_file
from .command import run_command

_ENDINGS = ('.pth', '.safetensors')


def main(argv: Sequence[str] | None = None) -> int:
    """Converts as the command line says.

    Args:
        argv: Arguments of the command; by default the process's.

    Returns:
        The exit code: 0, or 2 on bad input.
    """
    return run_command(convert, parse_args(argv))


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line.

    Args:
        argv: Arguments of the command; by default the process's.

    Returns:
        The command line, as `convert` takes it.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('src', help="one of the authors' .pth files, or the same as .safetensors")
    parser.add_argument('dst', help='file to write, .pth or .safetensors')
    parser.add_argument(
        '--reverse', action='store_true', help="from OpenMMLab's naming to the authors'"
    )
    return parser.parse_args(argv)


def convert(args: argparse.Namespace) -> None:
    """Finds out what a file has the weights of, and writes them under other names.

    Args:
        args: The command line, as `parse_args` reads it.

    Raises:
        UserError: The input is bad; nothing has been written then.
    """
    _check_destination(args.src, args.dst)
    weights = official.weights_of(read_foreign(args.src)[0], args.src)
    _check_direction(weights, args)
    if args.reverse:
        weights = official.to_official(weights)
    variant = official.identify(weights, args.src)
    if not args.reverse:
        weights = official.to_mm(weights)
    bare = args.reverse and variant.method is None
    # Copies, as tensors may be parts of larger ones, which would be written, too.
    weights = {key: w.clone(memory_format=torch.contiguous_format) for key, w in weights.items()}
    _write(weights, dict(model=weights) if bare else dict(state_dict=weights, meta={}), args.dst)
    print(f'{args.src} is {variant}: wrote {args.dst}')


def _check_direction(weights: Mapping[str, Tensor], args: argparse.Namespace) -> None:
    """Refuses a classifier that has the names it is to get; those of others are the same."""
    if not args.reverse and 'head.fc.weight' in weights:
        raise UserError(f"{args.src} has OpenMMLab's names already: --reverse gives the authors'")
    if args.reverse and 'head.weight' in weights:
        raise UserError(f"{args.src} has the authors' names already: leave --reverse out")


def _check_destination(src: str, dst: str) -> None:
    if not dst.endswith(_ENDINGS):
        raise UserError(f'{dst} has another ending than {" or ".join(_ENDINGS)}: give it one')
    if os.path.exists(src) and os.path.exists(dst) and os.path.samefile(src, dst):
        raise UserError(f'{dst} is the file to read: name another to write')
    check_file(dst)


def _write(weights: dict[str, Tensor], checkpoint: dict, path: str) -> None:
    """Writes the checkpoint (as .safetensors its weights) aside, and moves it when it is whole."""
    dst = Path(path)
    try:
        dst.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f'{dst.name}.', dir=dst.parent) as aside:
            whole = Path(aside) / dst.name
            whole.touch()
            permissions = whole.stat().st_mode
            if dst.suffix == '.pth':
                torch.save(checkpoint, whole)
            else:
                save_file(weights, whole, metadata=dict(format='pt'))
            whole.chmod(permissions)  # which safetensors gives to its user alone
            whole.replace(dst)
    except (OSError, RuntimeError, SafetensorError) as error:  # such as of a full disk
        reason = str(error).partition('\n')[0]
        raise UserError(f'{dst} cannot be written: {reason}; choose another') from error
