"""Files of exported models."""

import json
import re
import warnings
from pathlib import Path
from typing import Any

import torch

from mmdwnet.errors import UserError

from .graph import Graph

SUFFIXES = ('.onnx', '.pt2')
KEY = 'mmdwnet'  # of the description among a file's metadata
OPSET = 17  # the first with LayerNormalization
_EXAMPLE = (131, 131)  # of a graph for any size
_STANDARD = ('', 'ai.onnx')


def write(graph: Graph, path: Path, shape: tuple[int, int] | None, about: dict[str, Any]) -> None:
    """Export a graph to a file.

    Args:
        graph: The graph, on the CPU.
        path: The file, with one of `SUFFIXES`: of ONNX, or of `torch.export`.
        shape: Height and width of the image that the graph takes; None for any, which only ONNX
            files can.
        about: Description of the model, written into the file.

    Raises:
        UserError: The graph has operators that the format lacks.
    """
    dtype = torch.uint8 if graph.inputs.normalize else torch.float32
    images = torch.zeros(1, 3, *(shape or _EXAMPLE), dtype=dtype)
    text = json.dumps(dict(about, shape=shape))
    if path.suffix == '.pt2':
        _write_program(graph, images, path, text)
    else:
        _write_onnx(graph, images, path, text, dynamic=shape is None)


def _write_onnx(graph: Graph, images: torch.Tensor, path: Path, about: str, dynamic: bool) -> None:
    import onnx

    with warnings.catch_warnings(), torch.no_grad():
        # That this exporter is the older one, but the newer one cannot export detectors; and that
        # it is tracing, but what it traced is compared with torch.
        warnings.simplefilter('ignore')
        try:
            torch.onnx.export(
                graph,
                (images,),
                str(path),
                dynamo=False,
                opset_version=OPSET,
                input_names=['images'],
                output_names=list(graph.outputs),
                dynamic_axes={'images': {2: 'height', 3: 'width'}} if dynamic else None,
            )
        except torch.onnx.errors.UnsupportedOperatorError as error:
            name = re.search(r"'(\w+::\w+)'", str(error))
            raise UserError(
                f'the model calls {name[1] if name else "an operator"}, which ONNX lacks: export a '
                'model without it'
            ) from error
    model = onnx.load(path)
    own = sorted(
        {
            f'{node.domain}::{node.op_type}'
            for node in model.graph.node
            if node.domain not in _STANDARD
        }
    )
    if own:
        raise UserError(
            f'the model calls {", ".join(own)}, which ONNX lacks: export a model without it'
        )
    onnx.helper.set_model_props(model, {KEY: about})
    onnx.save(model, path)


def _write_program(graph: Graph, images: torch.Tensor, path: Path, about: str) -> None:
    try:
        with torch.no_grad():
            program = torch.export.export(graph, (images,))
    except Exception as error:  # torch.export has no class of its own
        reason = str(error).strip().partition('\n')[0]
        raise UserError(
            f'torch.export cannot export the model ({type(error).__name__}: {reason}): name a file '
            'that ends in .onnx'
        ) from error
    torch.export.save(program, path, extra_files={f'{KEY}.json': about})
