"""Inferencers of models by name, with the released weights or the user's own."""

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
    """Make the inferencer of a model's library, with all of the model's weights loaded.

    Args:
        name: One of `list_models()`.
        weights: File or URL of a checkpoint; by default the released weights, `dwnet://...`.
        device: Device to run on; by default the one that mmengine finds.

    Returns:
        mmpretrain's, mmdet's or mmseg's inferencer, to be called with images. Its classes are those
        of the data set in the model's config.

    Raises:
        UserError: There is no such model; its weights are neither released nor given; or the given
            ones are missing, unreadable, or of another model.
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
    # The scope of this inferencer must not become that of the next.
    with as_data(), DefaultScope.overwrite_default_scope(cfg.default_scope):
        # The inferencers would leave weights that the checkpoint lacks random.
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

    # Without them mmseg takes those of Cityscapes, when drawing even if the checkpoint has some.
    meta = DATASETS.get(cfg.test_dataloader.dataset.type).METAINFO
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='dataset_meta or class names are not saved')
        made = MMSegInferencer(cfg, checkpoint, **meta, device=device)
    made.model.dataset_meta = meta
    return made
