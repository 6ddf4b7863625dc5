"""Inferencers of models by name, with the released weights or a user's."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import DefaultScope

from mmdwnet.checkpoints.fitting import check_all_weights
from mmdwnet.checkpoints.loading import as_data
from mmdwnet.errors import UserError

from .building import build_model
from .hub import find_model

if TYPE_CHECKING:
    from mmdet.apis import DetInferencer
    from mmpretrain import ImageClassificationInferencer
    from mmseg.apis import MMSegInferencer


def inferencer(
    name: str, weights: str | Path | None = None, device: str | torch.device | None = None
) -> 'ImageClassificationInferencer | DetInferencer | MMSegInferencer':
    """Makes the inferencer that a model's library has, with all of the model's weights loaded.

    Args:
        name: One of `list_models()`.
        weights: A checkpoint's file or URL; by default the released weights, `dwnet://...`.
        device: What to run on; by default what mmengine finds.

    Returns:
        mmpretrain's, mmdet's or mmseg's inferencer, to be called with images. Its classes are those
        of the data set in the model's config.

    Raises:
        UserError: There is no such model; none of its weights are released and none are given; or
            those given are missing, unreadable or of another model.
    """
    model = find_model(name)
    if weights is None and model.weights is None:
        raise UserError(
            f'no weights of {name} are released: train it from {model.config}, and give the '
            'checkpoint as weights=...'
        )
    checkpoint = str(weights or model.weights)
    device = str(device or get_device())
    cfg = Config.fromfile(model.config)
    # Making one must not decide in which library the next looks up its pipeline.
    with as_data(), DefaultScope.overwrite_default_scope(cfg.default_scope):
        # The inferencers would leave at random whatever the checkpoint lacks.
        check_all_weights(checkpoint, build_model(cfg))
        if cfg.default_scope == 'mmpretrain':
            from mmpretrain import ImageClassificationInferencer

            return ImageClassificationInferencer(name, checkpoint, device)
        if cfg.default_scope == 'mmdet':
            from mmdet.apis import DetInferencer

            return DetInferencer(cfg, checkpoint, device)
        return _segmentor(cfg, checkpoint, device)


def _segmentor(cfg: Config, checkpoint: str, device: str) -> 'MMSegInferencer':
    from mmseg.apis import MMSegInferencer
    from mmseg.registry import DATASETS

    # Without them mmseg takes those of Cityscapes, for its pictures even where a checkpoint tells.
    meta = DATASETS.get(cfg.test_dataloader.dataset.type).METAINFO
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='dataset_meta or class names are not saved')
        made = MMSegInferencer(cfg, checkpoint, **meta, device=device)
    made.model.dataset_meta = meta
    return made
