"""Folders as trainings leave them, with small models, and folders of images for these."""

from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor

from mmdwnet.apis.building import build_model

DEMO = Path(__file__).parents[1] / 'data' / 'digits'
CONFIGS = {
    'classify': DEMO / 'dwnet_nano_digits.py',
    'detect': DEMO / 'cascade_mask_rcnn_dwnet_nano_digits.py',
    'segment': DEMO / 'upernet_dwnet_nano_digits.py',
}


def constant_weights(task: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return weights with which a model predicts one class: three, four or one."""
    weights = {key: torch.zeros_like(value) for key, value in weights.items()}
    if task == 'classify':
        weights['head.fc.bias'][3] = 9
    elif task == 'segment':
        weights['decode_head.conv_seg.bias'][2] = 9
    else:
        # Anchors are enlarged to the whole image, which leaves one box.
        weights['rpn_head.rpn_reg.bias'].view(-1, 4)[:, 2:] = 99
        for stage in range(3):
            weights[f'roi_head.bbox_head.{stage}.fc_cls.bias'][4] = 9
            weights[f'roi_head.bbox_head.{stage}.fc_reg.bias'][2:] = 99
            weights[f'roi_head.mask_head.{stage}.conv_logits.bias'][:] = 9
    return weights


def make_work_dir(
    parent: Path, task: str, constant: bool = True, meta: dict | None = None, **changes: object
) -> Path:
    """Write a folder of a task with a config and the best checkpoint.

    Args:
        parent: Where to.
        task: One of `CONFIGS`.
        constant: Whether the model predicts the same for all images, see `constant_weights`.
        meta: Of the checkpoint.
        changes: To the config.
    """
    cfg = Config.fromfile(CONFIGS[task])
    cfg.model.backbone.init_cfg = None
    cfg.merge_from_dict(changes)
    torch.manual_seed(0)
    weights = build_model(cfg).state_dict()
    if constant:
        weights = constant_weights(task, weights)
    folder = parent / task
    folder.mkdir()
    cfg.dump(str(folder / 'config.py'))
    torch.save(dict(state_dict=weights, meta=meta or {}), folder / 'best_score_epoch_2.pth')
    return folder


def make_images(parent: Path) -> Path:
    """Write a folder with images of three sizes, one of them in a folder of its own."""
    folder = parent / 'images'
    (folder / 'more of them').mkdir(parents=True)
    rng = np.random.default_rng(0)
    sizes = {
        'a.png': (64, 64),
        'more of them/é.png': (64, 64),
        'b.png': (48, 96),
        'c.BMP': (80, 64),
    }
    for name, size in sizes.items():
        cv2.imwrite(str(folder / name), rng.integers(0, 256, (*size, 3), dtype=np.uint8))
    (folder / 'notes.txt').write_text('no image')
    return folder
