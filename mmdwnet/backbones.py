"""Backbones for OpenMMLab's registries: the networks of `models`, built from config keys."""

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from traceback import walk_tb
from typing import Any

from mmcv.cnn import build_activation_layer, build_norm_layer
from mmengine.model import BaseModule
from mmengine.registry import MODELS, Registry
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from . import models
from .errors import UserError
from .models import mixers
from .models.maps import LayerNorm2d, NormLayer
from .models.swin_design import NUM_STAGES

# Whose errors about a config mean that the config is wrong.
_LIBRARIES = ('mmcv', 'mmengine', 'torch')

MIXERS = Registry('mixer', parent=MODELS, scope='mmdwnet')
for _name, _mixer in mixers.MIXERS.items():
    MIXERS.register_module(name=_name, module=_mixer)


class Backbone(BaseModule):
    """Mixin with what OpenMMLab expects of a backbone besides its maps."""

    def configure(
        self, frozen_stages: int, norm_eval: bool, init_cfg: dict | list[dict] | None
    ) -> None:
        """Apply the keys that all backbones share; call this after all layers are built.

        Args:
            frozen_stages: See `DWNet`.
            norm_eval: See `DWNet`.
            init_cfg: See `DWNet`.

        Raises:
            UserError: `frozen_stages` is out of range.
        """
        if not isinstance(frozen_stages, int) or not -1 <= frozen_stages <= NUM_STAGES:
            raise UserError(
                f'{type(self).__name__} got frozen_stages={frozen_stages!r}: give -1 (none) to '
                f'{NUM_STAGES} (all)'
            )
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.init_cfg = init_cfg
        self._freeze()

    def train(self, mode: bool = True) -> 'Backbone':
        """Set training or evaluation mode; frozen layers stay in evaluation mode.

        Args:
            mode: Whether to set training mode.

        Returns:
            The backbone.
        """
        super().train(mode)
        self._freeze()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Return the layer index of a parameter, for layer-wise learning rate decay.

        mmpretrain's `LearningRateDecayOptimWrapperConstructor` and, for detectors and segmentors,
        `LayerDecayOptimWrapperConstructor` call this.

        Args:
            param_name: Name of the parameter in the whole model.
            prefix: Prefix of the backbone's parameters.

        Returns:
            The index and the number of layers. Patch embedding is layer 0, each block is one layer
            (with the patch merging after it), and output norms, necks and heads are the last.
        """
        depths = [len(stage.blocks) for stage in self.layers]
        num_layers = sum(depths) + 2
        parts = param_name.removeprefix(prefix).split('.')
        if param_name.startswith(prefix) and parts[0] == 'patch_embed':
            return 0, num_layers
        if param_name.startswith(prefix) and parts[0] == 'layers':
            stage = int(parts[1])
            block = int(parts[3]) + 1 if parts[2] == 'blocks' else depths[stage]
            return sum(depths[:stage]) + block, num_layers
        return num_layers - 1, num_layers

    def _freeze(self) -> None:
        if self.frozen_stages < 0:
            return
        for module in (self.patch_embed, *self.layers[: self.frozen_stages]):
            module.eval().requires_grad_(False)


@MODELS.register_module()
class DWNet(models.DWNet, Backbone):
    """Backbone of (dynamic) depth-wise convolutions for any image size.

    Source: Han et al., ICLR 2022, section 3 and appendix (network), and the authors' release
    (names, padding, output norms).

    Args:
        arch: 'nano', 'tiny', 'base', or a dict; see `models.DWNet`. Defaults to 'tiny'.
        mixer: 'static', 'dynamic' or 'inhomogeneous' (from the paper), the name of another mixer in
            `MIXERS`, or a dict with `type` and keys of the mixer, for example
            dict(type='inhomogeneous', groups=16). Defaults to 'static'.
        window_size: See `models.DWNet`. Defaults to 7.
        pad_to_window: See `models.DWNet`. Defaults to False.
        in_channels: Number of image channels. Defaults to 3.
        mlp_ratio: See `models.DWNet`. Defaults to 4.
        act_cfg: Config of the activations in feed-forward branches. Defaults to dict(type='GELU').
        out_indices: See `models.DWNet`. Defaults to (3, ).
        drop_path_rate: See `models.DWNet`. Defaults to 0.
        frozen_stages: -1 freezes nothing, 0 the patch embedding, n also the first n stages: no
            gradients, and BNs keep their statistics in training. Output norms stay trainable, as
            pretrained classifiers do not have them. Defaults to -1.
        norm_eval: Whether all BNs keep their statistics in training. Defaults to False.
        norm_cfg: Config of the norm layers in blocks and predictors, and of the output norms. Other
            LayerNorms are not affected. Defaults to dict(type='BN').
        with_cp: See `models.DWNet`. Defaults to False.
        init_cfg: Initialization config of mmengine. By default, linear layers are drawn from a
            normal distribution with std 0.02, and other layers use torch's default.

    Raises:
        UserError: An argument is invalid.
    """

    def __init__(
        self,
        arch: str | dict = 'tiny',
        mixer: str | dict = 'static',
        window_size: int | Sequence[int] = 7,
        pad_to_window: bool = False,
        in_channels: int = 3,
        mlp_ratio: float = 4,
        act_cfg: dict | None = None,
        out_indices: int | Sequence[int] = (NUM_STAGES - 1,),
        drop_path_rate: float = 0.0,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        norm_cfg: dict | None = None,
        with_cp: bool | str = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(
            arch,
            _find_mixer(mixer),
            window_size,
            pad_to_window,
            in_channels,
            mlp_ratio,
            act_layer=_act_layer(act_cfg or dict(type='GELU')),
            norm_layer=_norm_layer(norm_cfg or dict(type='BN')),
            out_indices=out_indices,
            drop_path_rate=drop_path_rate,
            with_cp=with_cp,
        )
        self.configure(frozen_stages, norm_eval, init_cfg)


@MODELS.register_module()
class SwinMLP(models.SwinMLP, Backbone):
    """Swin-MLP backbone for any image size.

    Source: the authors' release of Swin-MLP (network, names); Swin's detectors and segmentors
    (padding, output norms).

    Args:
        arch: A name or a dict; see `models.SwinMLP`. Defaults to 'tiny_c24'.
        img_size: Side of the images that the windows are designed for; see `models.SwinMLP`.
        in_channels: Number of image channels. Defaults to 3.
        out_indices: See `models.SwinMLP`. Defaults to (3, ).
        drop_path_rate: See `models.SwinMLP`. Defaults to 0.
        frozen_stages: See `DWNet`. Defaults to -1.
        norm_eval: See `DWNet`. Defaults to False.
        norm_cfg: Config of the output norms in dense prediction; all other norms are LayerNorms.
            Defaults to dict(type='LN').
        with_cp: See `models.SwinMLP`. Defaults to False.
        init_cfg: Initialization config of mmengine. By default, linear layers and spatial MLPs are
            drawn from a normal distribution with std 0.02, and other layers use torch's
            default.

    Raises:
        UserError: An argument is invalid.
    """

    def __init__(
        self,
        arch: str | dict = 'tiny_c24',
        img_size: int | None = None,
        in_channels: int = 3,
        out_indices: int | Sequence[int] = (NUM_STAGES - 1,),
        drop_path_rate: float = 0.0,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        norm_cfg: dict | None = None,
        with_cp: bool | str = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(
            arch,
            img_size,
            in_channels,
            norm_layer=_norm_layer(norm_cfg or dict(type='LN')),
            out_indices=out_indices,
            drop_path_rate=drop_path_rate,
            with_cp=with_cp,
        )
        self.configure(frozen_stages, norm_eval, init_cfg)


def _find_mixer(mixer: str | dict) -> Callable[..., nn.Module]:
    """Return the callable that builds the mixer of a config."""
    keys = dict(mixer) if isinstance(mixer, dict) else dict(type=mixer)
    kind = keys.pop('type', None)
    if isinstance(kind, str):
        try:
            found = MIXERS.get(kind)
        except RuntimeError:  # raised by mmengine for some unknown names
            found = None
    else:
        found = kind
    if not callable(found):
        raise UserError(
            f'DWNet has no mixer {kind!r}: choose one of {sorted(MIXERS.module_dict)}, or register '
            'yours with @mmdwnet.MIXERS.register_module() in a module listed in custom_imports'
        )
    try:
        inspect.signature(found).bind('channels', 'kernel_size', 'norm_layer', **keys)
    except TypeError as error:
        raise UserError(f'DWNet got mixer={mixer!r}, which cannot be built: {error}') from error
    return partial(found, **keys)


def _act_layer(act_cfg: dict) -> Callable[[], nn.Module]:
    """Return the callable that builds the activation of a config."""
    return partial(_build, 'act_cfg', act_cfg, build_activation_layer)


def _build(key: str, cfg: dict, build: Callable[..., Any], *args: Any) -> Any:
    """Build a layer from a config, which may be at fault."""
    try:
        return build(cfg, *args)
    except (KeyError, TypeError, ValueError) as error:
        frames = [frame.f_globals['__name__'] for frame, _ in walk_tb(error.__traceback__)]
        if not {name.partition('.')[0] for name in frames} <= {'mmdwnet', *_LIBRARIES}:
            raise  # a fault in somebody's own layer
        raise UserError(f'{key}={cfg!r} cannot be built: {error}') from error


def _norm_layer(norm_cfg: dict) -> NormLayer:
    """Return the callable that builds the norm layer of a config."""

    def make(channels: int) -> nn.Module:
        norm = _build('norm_cfg', norm_cfg, build_norm_layer, channels)[1]
        if type(norm) is nn.LayerNorm:
            # nn.LayerNorm would normalize over the width instead of the channels.
            by_position = LayerNorm2d(channels, norm.eps, norm.elementwise_affine)
            by_position.weight, by_position.bias = norm.weight, norm.bias
            return by_position
        return norm

    return make
