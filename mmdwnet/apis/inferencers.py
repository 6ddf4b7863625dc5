"""Inferencers of the three libraries, with all weights of a checkpoint and the right classes."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import DATASETS, DefaultScope

from mmdwnet.checkpoints.fitting import check_all_weights
from mmdwnet.checkpoints.loading import as_data, load
from mmdwnet.errors import UserError

from .building import build_model
from .hub import find_model

if TYPE_CHECKING:
    from mmdet.apis import DetInferencer
    from mmpretrain import ImageClassificationInferencer
    from mmseg.apis import MMSegInferencer

VISUALIZERS = {
    'mmpretrain': 'UniversalVisualizer',
    'mmdet': 'DetLocalVisualizer',
    'mmseg': 'SegLocalVisualizer',
}


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
        in the checkpoint, or else those of the data set in the model's config.

    Raises:
        UserError: There is no such model; its weights are neither released nor given; or the given
            ones are missing, unreadable, or of another model.
    """
    return make_inferencer(*by_name(name, weights), device)


def by_name(name: str, weights: str | Path | None) -> tuple[Config, str]:
    """Return the config of a model, and its checkpoint: the given one, or the released weights."""
    model = find_model(name)
    if weights is None and model.weights is None:
        raise UserError(
            f'no weights of {name} are released: train it from {model.config}, and give the '
            'checkpoint as weights=...'
        )
    return Config.fromfile(model.config), str(weights or model.weights)


def make_inferencer(cfg: Config, checkpoint: str, device: str | torch.device | None) -> Any:
    """Make the inferencer of a config's library, as `inferencer` does.

    Args:
        cfg: The config. It is changed.
        checkpoint: File or address of the checkpoint, which is read as data.
        device: Device to run on; by default the one that mmengine finds.

    Raises:
        UserError: The config has no pipeline to test; the checkpoint is missing, unreadable, or of
            another model; or the device cannot be used.
    """
    device = _checked(device or get_device())
    dataset = (cfg.get('test_dataloader') or {}).get('dataset') or {}
    while 'dataset' in dataset or 'datasets' in dataset:
        dataset = dataset.get('dataset') or dataset['datasets'][0]
    if 'pipeline' not in dataset:
        raise UserError(
            f'the config {cfg.filename} has no test_dataloader.dataset.pipeline, which prepares '
            'the images: add it'
        )
    cfg.test_dataloader.dataset = dataset
    # Predictions are not logged, to wherever the visualizer of a training logs.
    given = cfg.get('visualizer') or dict(type=VISUALIZERS[cfg.default_scope])
    cfg.visualizer = {**given, 'vis_backends': None}
    # The scope of this inferencer must not become that of the next.
    with as_data(), DefaultScope.overwrite_default_scope(cfg.default_scope):
        # The inferencers would leave weights that the checkpoint lacks random.
        check_all_weights(checkpoint, build_model(cfg))
        meta = _dataset_meta(cfg, checkpoint)
        with warnings.catch_warnings():  # that the checkpoint has no classes
            warnings.filterwarnings('ignore', message='(dataset_meta|palette) ')
            made: Any
            if cfg.default_scope == 'mmpretrain':
                from mmpretrain import ImageClassificationInferencer
                from mmpretrain.visualization import UniversalVisualizer

                made = ImageClassificationInferencer(
                    cfg, checkpoint, device, classes=meta['classes']
                )
                made.visualizer = UniversalVisualizer()
                made.visualizer.dataset_meta = meta
            elif cfg.default_scope == 'mmdet':
                from mmdet.apis import DetInferencer

                made = DetInferencer(cfg, checkpoint, device)
                made.visualizer.dataset_meta = meta
            else:
                from mmseg.apis import MMSegInferencer

                made = MMSegInferencer(cfg, checkpoint, **meta, device=device)
        made.model.dataset_meta = meta
        return made


def _checked(device: str | torch.device) -> str:
    """Return the name of a device that can be used."""
    try:
        torch.empty(0, device=device)
    except Exception as error:  # each backend raises its own
        reason = str(error).partition('\n')[0]
        raise UserError(f'the device {device} cannot be used ({reason}): choose another') from error
    return str(device)


def _dataset_meta(cfg: Config, checkpoint: str) -> dict[str, Any]:
    """Return classes, None where they are unknown, and palette of a checkpoint, or of a config."""
    meta = load(checkpoint).get('meta')
    stored = meta.get('dataset_meta') if isinstance(meta, dict) else None
    if not isinstance(stored, dict) or not stored.get('classes'):
        dataset = {**cfg.test_dataloader.dataset, 'lazy_init': True, 'pipeline': []}
        stored = DATASETS.build(dataset).metainfo
    classes, palette = stored.get('classes'), stored.get('palette')
    if classes and not all(isinstance(name, str) for name in classes):
        raise UserError(
            f'the checkpoint {checkpoint} has classes that are not names: correct '
            'meta.dataset_meta.classes in it'
        )
    if cfg.default_scope == 'mmseg' and not palette:
        from mmseg.datasets import BaseSegDataset

        palette = BaseSegDataset(metainfo=dict(classes=classes), lazy_init=True).metainfo['palette']
    return dict(classes=classes, palette=palette or 'random')
