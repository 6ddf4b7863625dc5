"""The classifiers under timm's conventions; importing this module registers them with timm.

    import timm
    import mmdwnet.timm

    model = timm.create_model('dwnet_tiny', num_classes=10)

It needs torch, torchvision and timm. Parameters have the authors' names, so that timm loads the
released files as they are.
"""

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F  # noqa: N812
from timm.layers import create_classifier
from timm.models import (
    build_model_with_cfg,
    clean_state_dict,
    generate_default_cfgs,
    register_model,
    register_notrace_function,
    register_notrace_module,
)
from torch import Tensor, nn

from . import models
from .errors import UserError
from .models.scripting import scriptable
from .models.swin_design import (
    NUM_STAGES,
    PATCH_SIZE,
    PatchEmbed,
    PatchMerging,
    Stage,
    SwinDesign,
    check_images,
)
from .models.swin_mlp import ARCHITECTURES
from .released import RELEASES

__all__: list[str] = []  # timm adds the models


class Classifier(SwinDesign):
    """Mixin with what timm expects of a classifier, and of the backbone in it.

    Args:
        num_classes: Number of classes; 0 for pooled features.
        in_chans: Number of image channels.
        global_pool: Kind of pooling, as in timm; '' for none, with `num_classes=0`.
        drop_rate: Dropout rate before the last linear layer.
        output_stride: 32; or 16 or 8, at which later stages stay, with dilated kernels.
        output_norms: Whether to build a norm for the map of each stage, as backbones of detectors
            have them, in place of the classifier's.
        **design: Arguments of the network.
    """

    if TYPE_CHECKING:  # TorchScript would take them for types of its own
        layers: Any  # a ModuleList of Stage
        global_pool: Any

    def __init__(
        self,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = 'avg',
        drop_rate: float = 0.0,
        output_stride: int = 32,
        output_norms: bool = False,
        **design: Any,
    ) -> None:
        if output_stride not in (8, 16, 32):
            raise UserError(f'output_stride={output_stride!r}: give 32, 16 or 8')
        self._last_reduction = output_stride
        out_indices = range(NUM_STAGES) if output_norms else [NUM_STAGES - 1]
        super().__init__(in_channels=in_chans, out_indices=tuple(out_indices), **design)
        channels = [self.arch['embed_dims'] * 2**i for i in range(NUM_STAGES)]
        reductions = [min(PATCH_SIZE * 2**i, output_stride) for i in range(NUM_STAGES)]
        self.feature_info = [
            # Some libraries make names of modules of these, which cannot have dots.
            dict(num_chs=channels[i], reduction=reductions[i], module=f'layers_{i}')
            for i in range(NUM_STAGES)
        ]
        self.num_features = self.head_hidden_size = channels[-1]
        self.head_drop = nn.Dropout(drop_rate)
        self.reset_classifier(num_classes, global_pool)

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Return regular expressions that group parameters by layers, as timm defines it."""
        last = [len(layer.blocks) - 1 for layer in self.layers]
        blocks = [
            (r'^layers\.(\d+)\.blocks\.(\d+)', None),
            # Patch merging goes with the block before it, as in OpenMMLab.
            *((rf'^layers\.({i})\.downsample', (block,)) for i, block in enumerate(last)),
            (r'^norm', (99999,)),
        ]
        return dict(stem='^patch_embed', blocks=r'^layers\.(\d+)' if coarse else blocks)

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Choose whether the backward pass computes the blocks again."""
        for layer in self.layers:
            layer.with_cp = enable

    @torch.jit.ignore
    def get_classifier(self) -> nn.Module:
        """Return the last linear layer."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the head.

        Args:
            num_classes: As in the constructor.
            global_pool: As in the constructor; by default, it stays as it is.
        """
        self.num_classes = num_classes
        if global_pool is None:
            global_pool = self.global_pool.pool_type
        self.global_pool, self.head = create_classifier(
            self.num_features, num_classes, pool_type=global_pool
        )
        if isinstance(self.head, nn.Linear):
            nn.init.normal_(self.head.weight, std=0.02)
            nn.init.zeros_(self.head.bias)

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = 'NCHW',
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Compute the maps of some stages.

        Args:
            x: Normalized images, (N, in_chans, H, W).
            indices: The stages, or how many of the last ones; by default all.
            norm: Whether to apply those norms that there are: with `output_norms` one for each
                stage, otherwise the last stage's.
            stop_early: Whether to leave out the stages after the last one of `indices`.
            output_fmt: 'NCHW'.
            intermediates_only: Whether to return the maps alone.

        Returns:
            The maps, (N, C, H, W) each; unless `intermediates_only`, after `forward_features(x)`.

        Raises:
            UserError: Another format is asked for, or `x` has a different shape.
        """
        if output_fmt != 'NCHW':
            raise UserError(f"output_fmt={output_fmt!r}: maps are (N, C, H, W), give 'NCHW'")
        check_images(x, type(self).__name__, self.in_channels)
        wanted = self._stages(indices)
        x = self.patch_embed(x)
        maps: list[Tensor] = []
        sizes: list[torch.Size] = []
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if i in wanted:
                maps.append(_interleave(self._norm_of(i)(x) if norm else x, sizes))
            if stop_early and i == max(wanted):
                break
            if layer.downsample is not None:
                if self.feature_info[i]['reduction'] == self._last_reduction:
                    sizes.append(x.shape[-2:])
                    x = _shift(x)
                x = layer.downsample(x)
        return maps if intermediates_only else (_interleave(self._norm_of(i)(x), sizes), maps)

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Remove what the maps of some stages do not need.

        Args:
            indices: As in `forward_intermediates`.
            prune_norm: Whether to remove all norms of maps.
            prune_head: Whether to remove the head.

        Returns:
            The indices of the stages.
        """
        wanted = self._stages(indices)
        self.layers = self.layers[: max(wanted) + 1]
        self.layers[-1].downsample = None
        for i in range(NUM_STAGES):
            if prune_norm or i not in wanted:
                self._modules.pop(self._norm_name(i), None)
        if prune_head:
            self.reset_classifier(0, '')
        return wanted

    def forward_features(self, x: Tensor) -> Tensor:
        """Compute the map of the last stage: (N, in_chans, H, W) to (N, C, H / 32, W / 32)."""
        return self.forward_intermediates(x, [])[0]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Pool a map and classify: (N, C, H, W) to (N, num_classes).

        Args:
            x: The map of `forward_features`.
            pre_logits: Whether to return the pooled features, (N, C).
        """
        x = self.head_drop(self.global_pool(x))
        return x if pre_logits else self.head(x)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """Classify normalized images: (N, in_chans, H, W) to (N, num_classes)."""
        return self.forward_head(self.forward_features(x))

    def __prepare_scriptable__(self) -> nn.Module:
        """Return what TorchScript compiles in place of this model, with the same parameters."""
        if self._last_reduction != 32 or not self._classifies:
            raise UserError(
                'torch.jit.script() got a model with output_stride or features_only, but compiles '
                'only classifiers of stride 32: use torch.export or torch.compile instead'
            )
        model = scriptable(self)
        model.__class__ = type(type(self).__name__, (_Scriptable, type(self)), {})
        return model

    def _stages(self, indices: int | list[int] | None) -> list[int]:
        every = list(range(len(self.layers)))
        if indices is None or isinstance(indices, int):
            return every[-(indices or 0) :]
        return [every[i] for i in indices]

    def _norm_name(self, stage: int) -> str:
        return 'norm' if self._classifies and stage == NUM_STAGES - 1 else f'norm{stage}'

    def _norm_of(self, stage: int) -> nn.Module:
        return self._modules.get(self._norm_name(stage)) or nn.Identity()


class _Scriptable(Classifier):
    """Mixin for what TorchScript compiles; `scriptable` has made the rest of it."""

    def forward_features(self, x: Tensor) -> Tensor:
        """Compute the map of the last stage."""
        x = self.patch_embed(x)
        for layer in self.layers:
            x = layer(x)
            if layer.downsample is not None:
                x = layer.downsample(x)
        return self.norm(x)


def _shift(x: Tensor) -> Tensor:
    """Stack a map and its shifts by a row, a column, and both: (N, C, H, W) to (4N, C, H, W).

    What halves these maps computes all positions of a map that is not halved. Its later kernels,
    which see one of the four, are dilated in terms of that map.
    """
    h, w = x.shape[-2:]
    padded = F.pad(x, (0, 1, 0, 1))
    return torch.cat([padded[..., r : r + h, c : c + w] for r in (0, 1) for c in (0, 1)])


def _interleave(x: Tensor, sizes: list[torch.Size]) -> Tensor:
    """Return the map that the maps after `_shift` make up, whose input had the last size."""
    for h, w in reversed(sizes):
        x = x.unflatten(0, (2, 2, -1)).permute(2, 3, 4, 0, 5, 1)
        x = x.flatten(4).flatten(2, 3)[..., :h, :w]
    return x.contiguous()


class DWNet(Classifier, models.DWNet):
    """timm's DWNet; see `Classifier` and `models.DWNet` for the arguments."""


class SwinMLP(Classifier, models.SwinMLP):
    """timm's Swin-MLP; see `Classifier` and `models.SwinMLP` for the arguments."""


class _Ignored:
    """Stands in for the class of the authors' settings in their files: nothing of them is kept."""

    def __new__(cls, *args: object) -> OrderedDict:  # type: ignore[misc]
        return OrderedDict()  # of the classes that torch's reader fills


# What depends on the size of maps stays whole where timm traces models by torch.fx.
for _kind in (PatchEmbed, PatchMerging, Stage):
    register_notrace_module(_kind)
register_notrace_function(check_images)

# timm reads files by torch's weights-only reader, which refuses classes that it does not know.
torch.serialization.add_safe_globals([(_Ignored, 'yacs.config.CfgNode')])

_MIXERS = {'': 'static', 'dynamic_': 'dynamic', 'i_dynamic_': 'inhomogeneous'}
_MODELS: dict[str, tuple[type[Classifier], dict[str, Any]]] = {
    'dwnet_nano': (DWNet, dict(arch='nano')),
    **{
        f'{prefix}dwnet_{arch}': (DWNet, dict(arch=arch, mixer=mixer))
        for arch in ('tiny', 'base')
        for prefix, mixer in _MIXERS.items()
    },
    **{f'swin_mlp_{arch}': (SwinMLP, dict(arch=arch)) for arch in ARCHITECTURES},
}


def _cfg(name: str) -> dict[str, Any]:
    """Return timm's description of a model."""
    size = 256 if name.startswith('swin_mlp_tiny') else 224
    return dict(
        url=RELEASES.get(name),
        input_size=(3, size, size),
        pool_size=(size // 32, size // 32),
        crop_pct=0.875,  # as the authors test
        first_conv='patch_embed.proj',
        classifier='head',
        license='mit',
    )


default_cfgs = generate_default_cfgs({name: _cfg(name) for name in _MODELS})


def _register(name: str) -> None:
    kind, design = _MODELS[name]

    def create(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        return build_model_with_cfg(
            kind,
            name,
            pretrained,
            pretrained_filter_fn=_weights,
            feature_cfg=dict(out_indices=(0, 1, 2, 3), feature_cls='getter', norm=True),
            output_norms=kwargs.get('features_only', False),
            **{**design, **kwargs},
        )

    create.__name__ = create.__qualname__ = name
    create.__doc__ = f'Create {name}; arguments are those of `timm.create_model`.'
    globals()[name] = register_model(create)


def _weights(checkpoint: dict[str, Any], model: nn.Module) -> dict[str, Tensor]:
    """Return the weights in a released file, which has more, and may come from several GPUs."""
    return clean_state_dict(checkpoint.get('model', checkpoint))


for _name in _MODELS:
    _register(_name)
