"""Models by name: their configs, their released weights, and inferencers that run them.

A model's name is the stem of its config, such as `cascade_mask_rcnn_dwnet_tiny_3x_coco`; the
metafiles in `configs/` list the names. mmpretrain lets other packages add to its names, so there
`register` is all that is needed. mmdet and mmseg (mmengine's `BaseInferencer`) look a name up in
the metafiles of OpenMMLab's own packages only; `inferencer` gives their inferencers by our names.
"""

import difflib
import fnmatch
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.fileio import load
from mmengine.registry import DefaultScope
from mmpretrain import ImageClassificationInferencer, ModelHub

from mmdwnet.apis.weights import build_model, check_all_weights
from mmdwnet.errors import UserError

if TYPE_CHECKING:
    from mmdet.apis import DetInferencer
    from mmseg.apis import MMSegInferencer

INDEX = 'model-index.yml'


@dataclass(frozen=True)
class _Model:
    config: Path
    weights: str | None  # None where none are released


def root() -> Path:
    """Finds what mmdwnet has beside its code.

    Returns:
        The folder of `configs/`, `tools/` and `model-index.yml`: in the package where pip built it,
        else the checkout.

    Raises:
        UserError: There is none.
    """
    package = Path(__file__).parent
    for folder in (package / '.mim', package.parent):
        if (folder / INDEX).is_file():
            return folder
    raise UserError(
        f'{package} came without its configs: install mmdwnet by pip, or use a whole checkout'
    )


def metafiles(folder: Path) -> list[Path]:
    """Finds the metafiles that list the models.

    Args:
        folder: Of `model-index.yml`.

    Returns:
        The files.
    """
    return [folder / path for path in load(folder / INDEX)['Import']]


def register() -> None:
    """Tells mmpretrain the classifiers' names; calling it again changes nothing.

    Raises:
        UserError: The metafiles are missing.
    """
    # The detectors and segmentors stay out: mmpretrain would list them, but cannot build them.
    if not ModelHub.has('dwnet_tiny'):
        ModelHub.register_model_index(root() / 'configs/cls/metafile.yml', config_prefix=root())


def list_models(pattern: str = '*') -> list[str]:
    """Lists the models of all three tasks.

    Args:
        pattern: What the names match, with the wildcards of a shell.

    Returns:
        The names, sorted.
    """
    return sorted(fnmatch.filter(_models(), pattern))


def config_path(name: str) -> Path:
    """Finds the config of a model.

    Args:
        name: One of `list_models()`.

    Returns:
        The file.

    Raises:
        UserError: There is no such model.
    """
    return _model(name).config


def get_config(name: str) -> Config:
    """Reads the config of a model.

    Args:
        name: One of `list_models()`.

    Returns:
        The config.

    Raises:
        UserError: There is no such model.
    """
    return Config.fromfile(config_path(name))


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
    model = _model(name)
    if weights is None and model.weights is None:
        raise UserError(
            f'no weights of {name} are released: train it from {model.config}, and give the '
            'checkpoint as weights=...'
        )
    checkpoint = str(weights or model.weights)
    device = str(device or get_device())
    cfg = Config.fromfile(model.config)
    # The inferencers would leave at random whatever the checkpoint lacks.
    check_all_weights(checkpoint, build_model(cfg))
    # Making one must not decide in which library the next looks up its pipeline.
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        if cfg.default_scope == 'mmpretrain':
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


@cache
def _models() -> dict[str, _Model]:
    folder = root()
    found = {}
    for metafile in metafiles(folder):
        for model in load(metafile)['Models']:
            found[model['Name']] = _Model(folder / model['Config'], model.get('Weights'))
    return found


def _model(name: str) -> _Model:
    if name not in _models():
        near = difflib.get_close_matches(name, _models(), n=3)
        meant = f'did you mean {" or ".join(near)}? ' if near else ''
        raise UserError(f'no model is named {name!r}: {meant}mmdwnet.list_models() gives all names')
    return _models()[name]
