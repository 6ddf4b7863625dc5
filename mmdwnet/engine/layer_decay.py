"""Layer-wise learning rate decay in detectors and segmentors."""

from typing import Any

from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn

from mmdwnet.errors import UserError


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """mmengine's default constructor, with learning rates that decay towards the image.

    `paramwise_cfg` takes one key more, `layer_decay_rate`: the learning rate of each layer of the
    backbone is that of the layer after it times this rate. Necks and heads are not affected. The
    backbone tells its layers by `get_layer_depth`, as for mmpretrain's
    `LearningRateDecayOptimWrapperConstructor`, which supports classifiers only; those of mmdet and
    mmseg support backbones that they know by name.

    Raises:
        UserError: There is no `layer_decay_rate`, or the backbone does not tell its layers.
    """

    def add_params(
        self, params: list[dict], module: nn.Module, prefix: str = '', **kwargs: Any
    ) -> None:
        """Add all parameters of a module to `params`, as mmengine's constructor does."""
        super().add_params(params, module, prefix, **kwargs)
        if prefix:
            return  # of a part; the whole model follows
        rate = self.paramwise_cfg.get('layer_decay_rate')
        if rate is None:
            raise UserError(
                f'{type(self).__name__} got no layer_decay_rate: give one in paramwise_cfg, such '
                'as 0.8'
            )
        get_depth = getattr(getattr(module, 'backbone', None), 'get_layer_depth', None)
        if get_depth is None:
            raise UserError(
                f'{type(self).__name__} needs a model whose backbone has get_layer_depth, such as '
                f'DWNet: leave the constructor out of optim_wrapper for {type(module).__name__}'
            )
        names = {parameter: name for name, parameter in module.named_parameters()}
        for group in params:
            depth, layers = get_depth(names[group['params'][0]], 'backbone.')
            group['lr'] = group.get('lr', self.base_lr) * rate ** (layers - 1 - depth)
