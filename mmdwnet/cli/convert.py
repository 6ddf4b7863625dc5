"""Convert the authors' checkpoints to OpenMMLab's naming, and back."""

import argparse
import os
from collections.abc import Mapping, Sequence

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from mmdwnet.checkpoints import official
from mmdwnet.checkpoints.reading import read_foreign
from mmdwnet.errors import UserError

from .checks import check_file
from .command import add_traceback, run_command
from .writing import aside

_ENDINGS = ('.pth', '.safetensors')


def main(argv: Sequence[str] | None = None) -> int:
    """Convert as the command line says; return 0, or 2 on bad input."""
    return run_command(convert, parse_args(argv))


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line, by default the process's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('src', help="one of the authors' .pth files, or the same as .safetensors")
    parser.add_argument('dst', help='file to write, .pth or .safetensors')
    parser.add_argument(
        '--reverse', action='store_true', help="from OpenMMLab's naming to the authors'"
    )
    add_traceback(parser)
    return parser.parse_args(argv)


def convert(args: argparse.Namespace) -> None:
    """Find out which model a file is of, and write its weights under other names.

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
    # Copied, as a tensor may be a view of a larger one, which would be written whole.
    weights = {key: w.clone(memory_format=torch.contiguous_format) for key, w in weights.items()}
    _write(weights, dict(model=weights) if bare else dict(state_dict=weights, meta={}), args.dst)
    print(f'{args.src} is {variant}: wrote {args.dst}')


def _check_direction(weights: Mapping[str, Tensor], args: argparse.Namespace) -> None:
    """Refuse a classifier that has the wanted names already; other models keep their names."""
    if not args.reverse and 'head.fc.weight' in weights:
        raise UserError(f"{args.src} has OpenMMLab's names already: --reverse gives the authors'")
    if args.reverse and 'head.weight' in weights:
        raise UserError(f"{args.src} has the authors' names already: leave --reverse out")


def _check_destination(src: str, dst: str) -> None:
    if not dst.endswith(_ENDINGS):
        raise UserError(f'{dst} does not end in {" or ".join(_ENDINGS)}: choose such a name')
    if os.path.exists(src) and os.path.exists(dst) and os.path.samefile(src, dst):
        raise UserError(f'{dst} is the file to read: name another to write')
    check_file(dst)


def _write(weights: dict[str, Tensor], checkpoint: dict, path: str) -> None:
    """Write the checkpoint, or, as .safetensors, its weights."""
    try:
        with aside(path) as whole:
            if whole.suffix == '.pth':
                torch.save(checkpoint, whole)
            else:
                save_file(weights, whole, metadata=dict(format='pt'))
    except (RuntimeError, SafetensorError) as error:  # such as of a full disk
        reason = str(error).partition('\n')[0]
        raise UserError(f'{path} cannot be written: {reason}; choose another') from error
