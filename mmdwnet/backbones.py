"""The backbones that OpenMMLab's registries know: config keys for the networks of `models`."""

from collections.abc import Callable, Sequence
from functools import partial

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

MIXERS = Registry('mixer', parent=MODELS, scope='mmdwnet')
for _name, _mixer in mixers.MIXERS.items():
    MIXERS.register_module(name=_name, module=_mixer)


class Backbone(BaseModule):
    """What OpenMMLab expects of a backbone beside its maps. Mixed into the networks."""

    def configure(
        self, frozen_stages: int, norm_eval: bool, init_cfg: dict | list[dict] | None
    ) -> None:
        """Take up the keys that all backbones have; call it when all layers are built.

        Args:
            frozen_stages: As for `DWNet`.
            norm_eval: As for `DWNet`.
            init_cfg: As for `DWNet`.

        Raises:
            UserError: There are no such stages.
        """
        if frozen_stages not in range(-1, NUM_STAGES + 1):
            raise UserError(
                f'{type(self).__name__} got frozen_stages={frozen_stages!r}: give -1 (none) to '
                f'{NUM_STAGES} (all)'
            )
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.init_cfg = init_cfg
        self._freeze()

    def train(self, mode: bool = True) -> 'Backbone':
        """Set training or evaluation mode; what is frozen stays in evaluation mode.

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
        """Tell layer-wise learning rate decay how deep a parameter lies.

        mmpretrain's `LearningRateDecayOptimWrapperConstructor` asks for it.

        Args:
            param_name: Name of the parameter in the whole model.
            prefix: What the names of the backbone's own parameters start with.

        Returns:
            The layer, from 0 for the patch embedding over one for each block (patch merging
            belongs to the block before it) to the last for norms of the outputs, necks and heads;
            and the number of layers.
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
    """Backbone of (dynamic) depth-wise convolutions, for any image size.

    Source: Han et al., ICLR 2022, section 3 and appendix (network), and the authors' release
    (names, padding, normalization of the outputs).

    Args:
        arch: As for `models.DWNet`: 'nano', 'tiny', 'base', or a dict. Defaults to 'tiny'.
        mixer: 'static', 'dynamic' or 'inhomogeneous', the paper's; the name of another mixer in
            `MIXERS`; or a dict with `type` and the mixer's own keys, such as
            dict(type='inhomogeneous', groups=16). Defaults to 'static'.
        window_size: As for `models.DWNet`. Defaults to 7.
        pad_to_window: As for `models.DWNet`. Defaults to False.
        in_channels: Channels of the images. Defaults to 3.
        mlp_ratio: As for `models.DWNet`. Defaults to 4.
        act_cfg: Config of the activations of the feed-forward branches. Defaults to
            dict(type='GELU').
        out_indices: As for `models.DWNet`. Defaults to (3, ).
        drop_path_rate: As for `models.DWNet`. Defaults to 0.
        frozen_stages: -1 freezes nothing, 0 the patch embedding, n also the first n stages: no
            gradients, and BNs keep their statistics in training. Norms of the outputs stay
            trainable, as no classifier comes with them. Defaults to -1.
        norm_eval: Whether all BNs keep their statistics in training. Defaults to False.
        norm_cfg: Config of the norm layers in blocks, predictors and of the outputs; LayerNorms
            of the design stay what they are. Defaults to dict(type='BN').
        with_cp: As for `models.DWNet`. Defaults to False.
        init_cfg: Initialization, as in mmengine. By default linear layers draw from a normal
            distribution of std 0.02, and all others keep torch's initialization.

    Raises:
        UserError: An argument has a value that no network can have.
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
            act_layer=partial(build_activation_layer, act_cfg or dict(type='GELU')),
            norm_layer=_norm_layer(norm_cfg or dict(type='BN')),
            out_indices=out_indices,
            drop_path_rate=drop_path_rate,
            with_cp=with_cp,
        )
        self.configure(frozen_stages, norm_eval, init_cfg)


@MODELS.register_module()
class SwinMLP(models.SwinMLP, Backbone):
    """Backbone of Swin-MLP, for any image size.

    Source: the authors' release of Swin-MLP (network, names); Swin's detectors and segmentors
    (padding, norms of the outputs).

    Args:
        arch: As for `models.SwinMLP`: a name, or a dict. Defaults to 'tiny_c24'.
        img_size: As for `models.SwinMLP`: size of the images that the windows are made for.
        in_channels: Channels of the images. Defaults to 3.
        out_indices: As for `models.SwinMLP`. Defaults to (3, ).
        drop_path_rate: As for `models.SwinMLP`. Defaults to 0.
        frozen_stages: As for `DWNet`. Defaults to -1.
        norm_eval: As for `DWNet`. Defaults to False.
        norm_cfg: Config of the norm layers of the outputs in dense prediction; the classifier's
            and those inside are LayerNorms. Defaults to dict(type='LN').
        with_cp: As for `models.SwinMLP`. Defaults to False.
        init_cfg: Initialization, as in mmengine. By default linear layers and spatial MLPs draw
            from a normal distribution of std 0.02, and all others keep torch's initialization.

    Raises:
        UserError: An argument has a value that no network can have.
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
    """Return what makes the mixer that a config describes."""
    keys = dict(mixer) if isinstance(mixer, dict) else dict(type=mixer)
    kind = keys.pop('type', None)
    if isinstance(kind, str):
        try:
            found = MIXERS.get(kind)
        except RuntimeError:  # what mmengine raises on some unknown names
            found = None
    else:
        found = kind
    if not callable(found):
        raise UserError(
            f'DWNet has no mixer {kind!r}: choose one of {sorted(MIXERS.module_dict)}, or register '
            "yours by @mmdwnet.MIXERS.register_module() in a module of the config's custom_imports"
        )
    return partial(found, **keys)


def _norm_layer(norm_cfg: dict) -> NormLayer:
    """Return what makes the norm layer that a config describes."""

    def make(channels: int) -> nn.Module:
        norm = build_norm_layer(norm_cfg, channels)[1]
        if type(norm) is nn.LayerNorm:
            # It would take the width of maps for their channels.
            by_position = LayerNorm2d(channels, norm.eps, norm.elementwise_affine)
            by_position.weight, by_position.bias = norm.weight, norm.bias
            return by_position
        return norm

    return make
