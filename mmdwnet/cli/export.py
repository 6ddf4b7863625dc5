"""Export a trained model to ONNX, and compare what it predicts with the model in torch."""

import argparse
import json
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from PIL import Image

from mmdwnet.apis.inferencers import make_inferencer
from mmdwnet.apis.sources import Source, find_images
from mmdwnet.deploy.exporting.agreement import compare, predict
from mmdwnet.deploy.exporting.files import KEY, SUFFIXES, write
from mmdwnet.deploy.exporting.graphs import make_graph
from mmdwnet.deploy.exporting.steps import at_shape, common_shape, read_steps
from mmdwnet.errors import UserError

from .checks import check_data, check_file, datasets
from .command import add_cfg_options, read_config, require, run_command
from .writing import aside

_COMPARED = 8  # test images


def main(runtime: Any, argv: Sequence[str] | None = None) -> int:
    """Export as the command line says; return 0, or 2 on bad input.

    Args:
        runtime: The module `predict_onnx` in tools/deploy, which stands alone.
        argv: The command line, by default the process's.
    """
    return run_command(lambda args: export(args, runtime), parse_args(argv))


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line, by default the process's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint of the model that the config describes')
    parser.add_argument('--out', required=True, help='.onnx file, or .pt2 file of torch.export')
    parser.add_argument(
        '--shape',
        nargs=2,
        type=int,
        metavar=('H', 'W'),
        help='height and width of the images [what the test pipeline crops or resizes them to]',
    )
    parser.add_argument('--dynamic', action='store_true', help='take images of any shape')
    parser.add_argument(
        '--normalise',
        action='store_true',
        help='take uint8 and normalize it inside [take normalized float32]',
    )
    parser.add_argument(
        '--logits', action='store_true', help='segmentors: return logits, not indices of classes'
    )
    parser.add_argument(
        '--images',
        nargs='+',
        help=f'images to compare predictions on [{_COMPARED} of the test images of the config]',
    )
    add_cfg_options(parser)
    return parser.parse_args(argv)


def export(args: argparse.Namespace, runtime: Any) -> None:
    """Export a model, and compare predictions; raise a UserError on bad input."""
    _check_options(args)
    cfg = read_config(args)
    images = list(find_images(args.images)) if args.images else _test_images(cfg)
    model = make_inferencer(cfg, args.checkpoint, 'cpu').model
    settings = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    graph = make_graph(model, settings, args.normalise, args.logits)
    steps = read_steps(cfg.test_dataloader.dataset.pipeline)
    shape = None
    if not args.dynamic:
        shape = (args.shape[0], args.shape[1]) if args.shape else common_shape(steps)
        steps = at_shape(steps, shape, graph.inputs.color)
    about = dict(steps=steps, **graph.describe(model.dataset_meta))
    with aside(args.out) as path:
        write(graph, path, shape, about)
        run = _program(path) if path.suffix == '.pt2' else runtime.Model(str(path)).run
        for source in images:
            image = Image.fromarray(source.read()[..., ::-1].copy())
            array = runtime.prepare(image, about)[0]
            outputs = run(array)
            if 'masks' in outputs:
                # Pasted where the boxes are in the array, as those of the model are.
                size = (array.shape[3], array.shape[2])
                objects = runtime.Result(Image.new('RGB', size), outputs, (1, 1), about, -1)
                outputs['masks'] = objects.masks()
            with DefaultScope.overwrite_default_scope(cfg.default_scope):
                expected = predict(model, graph, torch.from_numpy(array))
            print(f'{source.path}: {compare(expected, outputs, str(source.path))}')
    print(f'wrote {args.out}')


def _check_options(args: argparse.Namespace) -> None:
    if not args.out.endswith(SUFFIXES):
        raise UserError(f'--out {args.out}: name a file that ends in {" or ".join(SUFFIXES)}')
    if args.dynamic and args.shape:
        raise UserError('--dynamic exports for images of any shape: leave --shape out')
    if args.dynamic and args.out.endswith('.pt2'):
        raise UserError(
            f'--dynamic: {args.out} can only be for one shape, as torch.export takes minutes to '
            'analyze the network for more: give --shape, or name an .onnx file'
        )
    if args.shape and min(args.shape) < 1:
        raise UserError(f'--shape {args.shape}: give height and width in pixels')
    check_file(args.out)
    for package in ('onnx', 'onnxruntime') if args.out.endswith('.onnx') else ():
        if find_spec(package) is None:
            raise UserError(f'export to ONNX needs {package}: pip install {package}')


def _test_images(cfg: Config) -> list[Source]:
    """Return some test images of a config, evenly spread."""
    require(cfg, 'test_dataloader')
    try:
        check_data(cfg, 'test')
    except UserError as error:
        raise UserError(f'{error}, or give images to compare predictions on as --images') from error
    (dataset, *_) = datasets(cfg.test_dataloader.dataset)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        built = DATASETS.build({**dataset, 'pipeline': []})
    indices = range(0, len(built), max(1, len(built) // _COMPARED))
    return list(find_images([built.get_data_info(i)['img_path'] for i in indices[:_COMPARED]]))


def _program(path: Path) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Return a program of `torch.export` as a function from an array to outputs by name."""
    extra = {f'{KEY}.json': ''}
    module = torch.export.load(path, extra_files=extra).module()
    names = json.loads(extra[f'{KEY}.json'])['outputs']

    def run(array: np.ndarray) -> dict[str, np.ndarray]:
        with torch.no_grad():
            outputs = module(torch.from_numpy(array))
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        return {name: value.numpy() for name, value in zip(names, outputs, strict=True)}

    return run
