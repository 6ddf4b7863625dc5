"""Names of the configs, and opening them as a Runner does."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from torch import nn

import mmdwnet  # noqa: F401  (first, as mmdet needs its operators)

CONFIGS = Path(__file__).parents[2] / 'configs'
VARIANTS = [
    f'{mixer}_{arch}'
    for mixer in ('dwnet', 'dynamic_dwnet', 'i_dynamic_dwnet')
    for arch in ('tiny', 'base')
]
CLASSIFIERS = [f'cls/{variant}.py' for variant in VARIANTS]
DETECTORS = [f'det/cascade_mask_rcnn_{variant}_3x_coco.py' for variant in VARIANTS]
SEGMENTORS = [f'seg/upernet_{variant}_160k_ade20k.py' for variant in VARIANTS]
SWIN_MLPS = [f'cls/swin_mlp_{arch}.py' for arch in ('tiny_c24', 'tiny_c12', 'tiny_c6', 'base')]
# One of each task.
CLASSIFIER, DETECTOR, SEGMENTOR = TINY = CLASSIFIERS[0], DETECTORS[0], SEGMENTORS[0]
# With recipes of mmdet's own.
DINO, MASK2FORMER, RTMDET_INS = UPSTREAM = (
    'custom/dino_dwnet_tiny_4scale_12e_coco.py',
    'custom/mask2former_dwnet_tiny_lsj_50e_coco.py',
    'custom/rtmdet_ins_dwnet_tiny_100e_coco.py',
)
CUSTOM = (
    'custom/mask_rcnn_dwnet_tiny_fpn_1x_coco.py',
    'custom/retinanet_dwnet_tiny_fpn_1x_coco.py',
    'custom/semantic_fpn_dwnet_tiny_80k_ade20k.py',
    *UPSTREAM,
)


@contextmanager
def opened(name: str) -> Iterator[Config]:
    """Yield a config, with its library as the default scope, as in a Runner."""
    config = Config.fromfile(CONFIGS / name)
    with DefaultScope.overwrite_default_scope(config.default_scope):
        yield config


def build_model(config: Config) -> nn.Module:
    return revert_sync_batchnorm(MODELS.build(config.model))
