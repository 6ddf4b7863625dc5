"""Files like the released ones."""

import re
from pathlib import Path

import torch
from torch import Tensor

import mmdwnet
from mmdwnet.apis.building import build_model
from mmdwnet.checkpoints import RELEASES
from mmdwnet.checkpoints.fetching import file_name
from mmdwnet.checkpoints.official import to_official

CLASSIFIER = 'dwnet_tiny'
DETECTOR = 'cascade_mask_rcnn_dwnet_tiny_3x_coco'
SEGMENTOR = 'upernet_dwnet_tiny_160k_ade20k'


def weights_for(name: str) -> dict[str, Tensor]:
    """Return weights with which a model predicts one class everywhere; most of them are 0."""
    weights = build_model(mmdwnet.get_config(name)).state_dict()
    for key, value in weights.items():  # expanded zeros take no space in a file
        weights[key] = torch.zeros((), dtype=value.dtype).expand(value.shape)

    def put(key: str, value: float, *places: int) -> None:
        weights[key] = torch.zeros(weights[key].shape)
        weights[key][list(places)] = value

    if name == CLASSIFIER:
        put('head.fc.bias', 9, 207)
    elif name == DETECTOR:
        # Anchors are enlarged to the whole image, which leaves few proposals and one box.
        put('rpn_head.rpn_reg.bias', 99, 2, 3, 6, 7, 10, 11)
        for stage in range(3):
            put(f'roi_head.bbox_head.{stage}.fc_cls.bias', 9, 16)
            put(f'roi_head.bbox_head.{stage}.fc_reg.bias', 99, 4 * 16 + 2, 4 * 16 + 3)
    elif name == SEGMENTOR:
        put('decode_head.conv_seg.bias', 9, 2)
    return weights


def write_release(folder: Path, name: str) -> None:
    """Write the file of a model in the authors' format into a folder.

    Args:
        folder: Where to.
        name: Of its config.
    """
    address = RELEASES[re.sub('_3x_coco|_160k_ade20k', '', name)]
    torch.save({'model': to_official(weights_for(name))}, folder / file_name(address))
