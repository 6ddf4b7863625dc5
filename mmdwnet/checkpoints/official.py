"""The authors' layouts of weights: which model they are of, and its keys here and there.

Our backbones' parameters carry the authors' names, so which keys and shapes a model has is asked
of the model itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import torch
from torch import Size, Tensor, nn

from mmdwnet.errors import UserError
from mmdwnet.models import dwnet, swin_mlp

from .keys import differences, some

# The authors' detectors and segmentors: what there is beside the backbone.
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
        classes: Number of a classifier's classes, None for others.
    """

    backbone: str
    method: str | None = None
    classes: int | None = None

    @property
    def name(self) -> str:
        """The name of the release, whether there is one or not."""
        return f'{self.method}_{self.backbone}' if self.method else self.backbone

    def __str__(self) -> str:
        return self.name if self.method else f'{self.name}, a classifier of {self.classes} classes'


def weights_of(checkpoint: Mapping, source: str) -> dict[str, Tensor]:
    """Finds the state dict in a checkpoint: under `model`, `state_dict` or at the top.

    Args:
        checkpoint: What the file holds.
        source: What messages call it.

    Returns:
        Tensors by key, without the prefix `module.` that parallel training adds.

    Raises:
        UserError: There is no state dict.
    """
    parts = [checkpoint.get(key) for key in ('model', 'state_dict')]
    weights = next((part for part in parts if isinstance(part, dict)), checkpoint)
    strange = [str(key) for key, value in weights.items() if not _is_plain(key, value)]
    if strange or not weights:
        raise UserError(
            f'{source} has no state dict under model, state_dict or at its top: '
            f'{f"{some(strange)} hold no plain tensors" if strange else "it is empty"}'
        )
    return {key.removeprefix('module.'): value.detach() for key, value in weights.items()}


def identify(weights: Mapping[str, Tensor], source: str) -> Variant:
    """Finds out which model weights are of.

    Args:
        weights: Tensors by key, in the authors' naming.
        source: What messages call them.

    Returns:
        The model.

    Raises:
        UserError: It is none of those that we have.
    """
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
    """Gives weights the names that OpenMMLab's models have for them.

    Args:
        weights: Tensors by key, in the authors' naming.

    Returns:
        The same tensors in the same order.
    """
    if 'head.weight' not in weights:
        return dict(weights)
    return {
        f'head.fc.{key.removeprefix("head.")}' if key.startswith('head.') else f'backbone.{key}': w
        for key, w in weights.items()
    }


def to_official(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gives weights the authors' names: the reverse of `to_mm`.

    Args:
        weights: Tensors by key, in OpenMMLab's naming.

    Returns:
        The same tensors in the same order.
    """
    if 'head.fc.weight' not in weights:
        return dict(weights)
    return {
        key.removeprefix('backbone.').replace('head.fc.', 'head.'): w for key, w in weights.items()
    }


def _is_plain(key: object, value: object) -> bool:
    return (
        isinstance(key, str)
        and isinstance(value, Tensor)
        and value.layout is torch.strided
        and value.device.type == 'cpu'
        and not (value.is_quantized or value.is_nested)
    )


def _classes(weights: Mapping[str, Tensor]) -> int | None:
    """Returns the number of a classifier's classes, or None if its head is none."""
    weight, bias = weights.get('head.weight'), weights.get('head.bias')
    if weight is None or bias is None or bias.ndim != 1:
        return None
    return len(bias) if weight.shape == (len(bias), *weights['norm.weight'].shape) else None


def _nearest(weights: Mapping[str, Tensor], source: str, dense: bool) -> str:
    """Returns the name of the backbone that weights fit, or says what keeps the nearest."""
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
    """Returns the shapes by key of every backbone, as classifiers or dense models have it."""
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
