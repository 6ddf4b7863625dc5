"""Predict with a trained classifier, detector or segmentor: print a line for each image."""

import argparse
import logging
import os
import re
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

from mmengine.logging import MMLogger

from mmdwnet.apis.predicting import load
from mmdwnet.apis.sources import SUFFIXES, Source, find_images
from mmdwnet.errors import UserError

from .checks import check_folder
from .command import add_traceback, run_command


def main(argv: Sequence[str] | None = None) -> int:
    """Predict as the command line says; return 0, or 2 on bad input."""
    return run_command(predict, parse_args(argv))


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line, by default the process's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'model', help='folder of tools/finetune.py or tools/train.py, name of a model, or config'
    )
    parser.add_argument('images', nargs='+', help='files, folders and addresses of images')
    parser.add_argument('--weights', help='checkpoint, in place of the best in the folder')
    parser.add_argument('--device', help='such as cpu or cuda:1 [a GPU if there is one]')
    parser.add_argument('--batch-size', type=int, default=1, help='images at once [1]')
    parser.add_argument(
        '--score-thr', type=float, default=0.3, help='lowest score of objects [0.3]'
    )
    parser.add_argument('--out', help='folder to draw predictions into')
    parser.add_argument('--json', action='store_true', help='print a JSON object for each image')
    parser.add_argument(
        '--bad-data',
        choices=('stop', 'skip'),
        help='what to do at an image that cannot be read [bad_data of the config, or stop]',
    )
    add_traceback(parser)
    return parser.parse_args(argv)


def predict(args: argparse.Namespace) -> None:
    """Find the images, then predict, print and draw them; raise a UserError on bad input."""
    images = list(find_images(args.images))
    drawings = _drawings(images, args.out) if args.out is not None else {}
    results = sys.stdout
    with redirect_stdout(sys.stderr):  # where what the libraries print and log belongs
        for handler in MMLogger.get_current_instance().handlers:
            if type(handler) is logging.StreamHandler:  # not one into a file
                handler.setStream(sys.stderr)
        model = load(args.model, args.weights, args.device)
        if args.bad_data is not None:
            model.skip = args.bad_data == 'skip'
        for result in model.stream(images, args.batch_size, args.score_thr):
            print(result.to_json() if args.json else result, file=results, flush=True)
            if drawings:
                result.save(drawings[result.path])


def _drawings(images: list[Source], out: str) -> dict[str | None, Path]:
    """Return the file to draw each image into, below `out` as it lies below their common folder."""
    check_folder(out)
    paths = [str(image.path) for image in images]
    files = [os.path.abspath(path) for path in paths if '://' not in path]
    top = os.path.commonpath([os.path.dirname(file) for file in files]) if files else ''
    if files and Path(out).resolve() == Path(top).resolve():
        raise UserError(f'--out {out} has the images, which would be overwritten: name another')
    drawings: dict[str | None, Path] = {}
    for path in paths:
        name = re.sub(r'[^\w.-]+', '_', path) if '://' in path else os.path.relpath(path, top)
        drawings[path] = Path(out, name if name.lower().endswith(SUFFIXES) else f'{name}.png')
    return drawings
