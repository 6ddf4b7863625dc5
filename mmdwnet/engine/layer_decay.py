"""Layer-wise learning rate decay in detectors and segmentors."""

from typing import Any

from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn

from mmdwnet.errors import UserError


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """mmengine's default constructor, with a learning rate for each layer of the backbone.

    `paramwise_cfg` takes another key, `layer_decay_rate`: the learning rate of a layer is that of
    the next layer times this rate. Necks and heads have the optimizer's. The backbone's
    `get_layer_depth` says which layer a parameter belongs to, as for mmpretrain's
    `LearningRateDecayOptimWrapperConstructor`, which supports classifiers only. The constructors of
    mmdet and mmseg support only the backbones that they know by name.

    Args:
        optim_wrapper_cfg: As for mmengine's constructor.
        paramwise_cfg: As for mmengine's constructor, with `layer_decay_rate`.

    Raises:
        UserError: `layer_decay_rate` is not a number above 0, or the backbone has no
            `get_layer_depth`.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        super().__init__(optim_wrapper_cfg, paramwise_cfg)
        self.rate = self.paramwise_cfg.get('layer_decay_rate')
        if not isinstance(self.rate, int | float) or self.rate <= 0:
            raise UserError(
                f'{type(self).__name__} got layer_decay_rate={self.rate!r}: give a number above 0 '
                'in paramwise_cfg, such as 0.8'
            )

    def add_params(
        self, params: list[dict], module: nn.Module, prefix: str = '', **kwargs: Any
    ) -> None:
        """Add all parameters of a module to `params`, as mmengine's constructor does."""
        super().add_params(params, module, prefix, **kwargs)
        if prefix:
            return  # called for a part by mmengine's method
        get_depth = getattr(getattr(module, 'backbone', None), 'get_layer_depth', None)
        if get_depth is None:
            raise UserError(
                f'{type(self).__name__} needs a model whose backbone has get_layer_depth, such as '
                f'DWNet: leave the constructor out of optim_wrapper for {type(module).__name__}'
            )
        names = {parameter: name for name, parameter in module.named_parameters()}
        for group in params:
            depth, layers = get_depth(names[group['params'][0]], 'backbone.')
            group['lr'] = group.get('lr', self.base_lr) * self.rate ** (layers - 1 - depth)
