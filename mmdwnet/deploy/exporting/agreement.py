"""Whether an exported model computes what the model does."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np
import torch
import torchvision
from torch import Tensor

from mmdwnet.errors import UserError

from .graph import Graph

SCORES = 1e-3  # largest difference of scores
PIXELS = 0.999  # least share of pixels of the same class
IOU = 0.99  # least overlap of boxes, and of masks

_DATA_SAMPLES = {
    'classify': ('mmpretrain.structures', 'DataSample'),
    'detect': ('mmdet.structures', 'DetDataSample'),
    'segment': ('mmseg.structures', 'SegDataSample'),
}


@torch.no_grad()
def predict(model: Any, graph: Graph, images: Tensor) -> Any:
    """Predict with a model of OpenMMLab for what an exported model takes.

    Args:
        model: The model.
        graph: The graph of the model.
        images: (1, 3, H, W), as for the exported model.

    Returns:
        The data sample with predictions, in pixels of the images.
    """
    x = graph.inputs(images)
    size = tuple(images.shape[-2:])
    bottom, right = (new - old for new, old in zip(x.shape[-2:], size, strict=True))
    module, name = _DATA_SAMPLES[graph.task]
    sample = getattr(import_module(module), name)()
    sample.set_metainfo(
        dict(
            img_shape=size,
            ori_shape=size,
            pad_shape=tuple(x.shape[-2:]),
            batch_input_shape=tuple(x.shape[-2:]),
            padding_size=[0, right, 0, bottom],
            scale_factor=(1.0, 1.0),
        )
    )
    return model.predict(x, [sample])[0]


def compare(expected: Any, outputs: Mapping[str, np.ndarray], image: str) -> str:
    """Compare predictions.

    Args:
        expected: The model's, as from `predict`.
        outputs: The exported model's: its outputs by name, but `masks` as (n, H, W), bool.
        image: Name of the image.

    Returns:
        How far they agree.

    Raises:
        UserError: They do not agree.
    """
    if 'boxes' in outputs:
        told, agree = _compare_objects(expected.pred_instances, outputs)
    elif 'scores' in outputs:
        difference = np.abs(expected.pred_score.numpy() - outputs['scores'][0]).max()
        told, agree = f'scores differ by {difference:.0e}', difference <= SCORES
    else:
        if 'map' in outputs:
            pair = expected.pred_sem_seg.data.numpy(), outputs['map']
        else:
            pair = (_classes(expected.seg_logits.data.numpy()), _classes(outputs['logits'][0]))
        share = np.mean(pair[0] == pair[1])
        told, agree = f'{share:.3%} of the pixels are of the same class', share >= PIXELS
    if not agree:
        raise UserError(
            f'{image}: the exported model does not agree with torch ({told}), so do not use it; '
            'export to another file or shape, and report this with the config'
        )
    return told


def _classes(logits: np.ndarray) -> np.ndarray:
    """Return the classes of pixels by logits, (classes, H, W), or (1, H, W) of one class."""
    return logits.argmax(0) if len(logits) > 1 else logits[0] > 0


def _compare_objects(expected: Any, outputs: Mapping[str, np.ndarray]) -> tuple[str, bool]:
    """Match objects one to one; say how far they agree, and whether that is enough."""
    boxes, labels, scores = (
        torch.from_numpy(outputs[key]) for key in ('boxes', 'labels', 'scores')
    )
    overlaps = torchvision.ops.box_iou(expected.bboxes, boxes)
    fits = (overlaps >= IOU) & (expected.labels[:, None] == labels)
    fits &= (expected.scores[:, None] - scores).abs() <= SCORES
    if 'masks' in outputs:
        fits &= _masks_fit(expected.masks.flatten(1), torch.from_numpy(outputs['masks']).flatten(1))
    matches = 0
    for row, fit in enumerate(fits):
        if fit.any():
            fits[:, (overlaps[row] * fit).argmax()] = False
            matches += 1
    told = f'{matches} of {len(expected)} objects, and of {len(boxes)} exported ones, are the same'
    return told, matches == len(expected) == len(boxes)


def _masks_fit(expected: Tensor, found: Tensor) -> Tensor:
    """Return which masks fit which, (n, m), given pixels of each, (n, pixels) and (m, pixels)."""
    a, b = expected.float(), found.float()
    common = a @ b.T
    union = a.sum(1)[:, None] + b.sum(1) - common
    return union - common <= (1 - IOU) * union + 1  # a pixel on the border may be in one of them
