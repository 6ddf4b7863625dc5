"""Identify the authors' weights, and convert their keys to OpenMMLab's and back.

Our backbones' parameters have the authors' names, so the models themselves give keys and shapes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import torch
from torch import Size, Tensor, nn

from mmdwnet.errors import UserError
from mmdwnet.models import dwnet, swin_mlp

from .keys import differences, is_plain, some

# Parts of the authors' detectors and segmentors besides the backbone.
_METHODS = {
    'cascade_mask_rcnn': {'neck', 'rpn_head', 'roi_head'},
    'upernet': {'decode_head', 'auxiliary_head'},
}
_MIXERS = {'static': 'dwnet', 'dynamic': 'dynamic_dwnet', 'inhomogeneous': 'i_dynamic_dwnet'}


@dataclass(frozen=True)
class Variant:
    """A model of the paper.

    Args:
        backbone: Such as 'dynamic_dwnet_tiny' or 'swin_mlp_base'.
        method: 'cascade_mask_rcnn', 'upernet', or None for a classifier.
        classes: Number of a classifier's classes; None for other models.
    """

    backbone: str
    method: str | None = None
    classes: int | None = None

    @property
    def name(self) -> str:
        """The name that a release has or would have."""
        return f'{self.method}_{self.backbone}' if self.method else self.backbone

    def __str__(self) -> str:
        return self.name if self.method else f'{self.name}, a classifier of {self.classes} classes'


def weights_of(checkpoint: Mapping, source: str) -> dict[str, Tensor]:
    """Find the state dict in a checkpoint: under `model` or `state_dict`, or at the top level."""
    parts = [checkpoint.get(key) for key in ('model', 'state_dict')]
    weights = next((part for part in parts if isinstance(part, dict)), checkpoint)
    strange = [
        str(key)
        for key, value in weights.items()
        if not isinstance(key, str) or not is_plain(value) or value.is_complex()
    ]
    if strange or not weights:
        raise UserError(
            f'{source} has no state dict under model, state_dict or at its top level: '
            f'{f"{some(strange)} hold no plain tensors" if strange else "it is empty"}'
        )
    return {key.removeprefix('module.'): value.detach() for key, value in weights.items()}


def identify(weights: Mapping[str, Tensor], source: str) -> Variant:
    """Identify the model that weights belong to."""
    parts = {key.split('.')[0] for key in weights}
    if 'backbone' not in parts:
        backbone = {k: v for k, v in weights.items() if k not in ('head.weight', 'head.bias')}
        name = _nearest(backbone, source, dense=False)
        classes = _classes(weights)
        if classes is None:
            raise UserError(
                f'{source} has the backbone of {name}, but no head of a classifier on it, '
                'head.weight and head.bias: name a whole model'
            )
        return Variant(name, classes=classes)
    backbone = {
        key.removeprefix('backbone.'): value
        for key, value in weights.items()
        if key.startswith('backbone.')
    }
    name = _nearest(backbone, source, dense=True)
    for method, others in _METHODS.items():
        if parts == {'backbone', *others}:
            return Variant(name, method)
    raise UserError(
        f'{source} has the backbone of {name}, but beside it {sorted(parts - {"backbone"})}, where '
        f'detectors have {sorted(_METHODS["cascade_mask_rcnn"])} and segmentors '
        f'{sorted(_METHODS["upernet"])}: no such model is known'
    )


def to_mm(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert weights from the authors' keys to OpenMMLab's."""
    if 'head.weight' not in weights:
        return dict(weights)
    return {
        f'head.fc.{key.removeprefix("head.")}' if key.startswith('head.') else f'backbone.{key}': w
        for key, w in weights.items()
    }


def to_official(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert weights from OpenMMLab's keys to the authors': the reverse of `to_mm`."""
    if 'head.fc.weight' not in weights:
        return dict(weights)
    return {
        key.removeprefix('backbone.').replace('head.fc.', 'head.'): w for key, w in weights.items()
    }


def _classes(weights: Mapping[str, Tensor]) -> int | None:
    """Return the number of classes of a classifier's head, or None if there is no such head."""
    weight, bias = weights.get('head.weight'), weights.get('head.bias')
    if weight is None or bias is None or bias.ndim != 1:
        return None
    return len(bias) if weight.shape == (len(bias), *weights['norm.weight'].shape) else None


def _nearest(weights: Mapping[str, Tensor], source: str, dense: bool) -> str:
    """Return the name of the backbone that weights fit; otherwise say why the nearest does not."""
    backbones = _backbones(dense)

    def fitting(name: str) -> int:
        shapes = backbones[name]
        return sum(key in shapes and weights[key].shape == shapes[key] for key in weights)

    name = max(backbones, key=fitting)
    if not fitting(name):
        raise UserError(f'{source} is of no model that mmdwnet knows: it has {some(weights)}')
    told = differences(weights, backbones[name])
    if told:
        raise UserError(
            f'{source} is of no model that mmdwnet knows: the nearest is {name}, but there are '
            f'{told}'
        )
    return name


@cache
def _backbones(dense: bool) -> dict[str, dict[str, Size]]:
    """Return the shapes of every backbone by key, as in classifiers or in dense models."""
    out_indices = (0, 1, 2, 3) if dense else (3,)
    with torch.device('meta'):
        models: dict[str, nn.Module] = {
            f'{name}_{arch}': dwnet.DWNet(arch, mixer, out_indices=out_indices)
            for arch in dwnet.ARCHITECTURES
            for mixer, name in _MIXERS.items()
        }
        models |= {
            f'swin_mlp_{arch}': swin_mlp.SwinMLP(arch, out_indices=out_indices)
            for arch in swin_mlp.ARCHITECTURES
        }
    return {
        name: {key: value.shape for key, value in model.state_dict().items()}
        for name, model in models.items()
    }
