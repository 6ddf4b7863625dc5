"""Parameters and multiply-adds of whole models: backbone, neck and heads.

Models are run without data, on torch's meta device, where a detector of 1280 x 800 pixels takes a
second and no memory. torch's `FlopCounterMode` counts products of convolutions and linear layers;
norms, activations, pooling, interpolation and RoIAlign count as nothing, as is usual.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from mmengine.config import Config
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from mmdwnet.apis.building import build_model
from mmdwnet.errors import UserError
from mmdwnet.models.mixers import DynamicMixer, InhomogeneousMixer

if TYPE_CHECKING:
    from mmdet.models import TwoStageDetector

# The shapes, as height and width, at which the paper counts.
SHAPES = {'mmpretrain': (224, 224), 'mmdet': (800, 1280), 'mmseg': (512, 2048)}
MAX_SIDE = 2**16
# With two stages, the published figures of detectors are for so many regions in the first image:
# mmdet 2.x's tools/analysis_tools/get_flops.py ran each box head on 1000 and each mask head on 100.
BOX_REGIONS = 1000
MASK_REGIONS = 100


@dataclass(frozen=True)
class Cost:
    """What a model or a part of it costs.

    Attributes:
        parameters: Number of learned values.
        multiply_adds: For one image; the papers' "FLOPs".
    """

    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Complexity:
    """What a model and each of its modules cost.

    Attributes:
        shape: Height and width of the image, in pixels.
        modules: Costs by the modules' names, in the model's order; those within are included.
    """

    shape: tuple[int, int]
    modules: dict[str, Cost]

    @property
    def total(self) -> Cost:
        """The whole model's cost; heads for training only count for their parameters."""
        return self.modules['']


def measure(cfg: Config, shape: tuple[int, int] | None = None) -> Complexity:
    """Counts parameters and multiply-adds of the model of a config, in evaluation mode.

    Args:
        cfg: A config of mmpretrain, mmdet or mmseg.
        shape: Height and width of the image, in pixels; by default `default_shape(cfg)`.

    Returns:
        The costs.

    Raises:
        UserError: The model cannot be built, does not take such images, or is a detector of
            neither one nor two stages.
    """
    height, width = shape = shape or default_shape(cfg)
    if not all(1 <= side <= MAX_SIDE for side in shape):
        raise UserError(
            f'there are no images of {height} x {width} pixels: give a height and a width from 1 '
            f'to {MAX_SIDE}'
        )
    with _ParametersOnMeta():
        model = build_model(cfg).to('meta').eval()
    run = _runner(model, cfg.default_scope)
    recorder = _Recorder(model)
    try:
        recorder.record(run, torch.empty(1, 3, height, width, device='meta'))
    except RuntimeError as error:
        raise UserError(
            f'the model of {cfg.filename} does not take images of {height} x {width} pixels '
            f'(height x width): {str(error).splitlines()[0]}'
        ) from error
    return Complexity(shape, recorder.costs(model))


def default_shape(cfg: Config) -> tuple[int, int]:
    """Says at which image shape the paper counts.

    Args:
        cfg: A config of mmpretrain, mmdet or mmseg.

    Returns:
        Height and width, in pixels: the centre crop of a classifier's test images if they have
        one; otherwise the task's of `SHAPES`.
    """
    if cfg.default_scope == 'mmpretrain':
        for step in cfg.get('test_dataloader', {}).get('dataset', {}).get('pipeline', []):
            if getattr(step['type'], '__name__', step['type']) == 'CenterCrop':
                size = step['crop_size']
                width, height = (size, size) if isinstance(size, int) else size
                return height, width
    return SHAPES[cfg.default_scope]


class _ParametersOnMeta(TorchFunctionMode):
    """Makes modules allocate their parameters on the meta device, so that building takes no time.

    The meta device as torch's default would be too much: modules may compute with what they make,
    such as rates of drop paths from `linspace`. Parameters are made by `empty`.
    """

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.empty and kwargs.get('device') is None:
            kwargs = {**kwargs, 'device': 'meta'}
        return func(*args, **kwargs)


def _runner(model: nn.Module, scope: str) -> Callable[[Tensor], object]:
    """Returns what takes an image through all of a model that runs in a test."""
    if scope == 'mmdet':
        from mmdet.models import SingleStageDetector, TwoStageDetector

        if isinstance(model, TwoStageDetector):
            return lambda image: _run_two_stages(model, image)
        if not isinstance(model, SingleStageDetector):
            raise UserError(
                f'{type(model).__name__} is a detector of neither one nor two stages, and others '
                'cannot be counted here: count its backbone in a classifier'
            )
    return lambda image: model(image, mode='tensor')


def _run_two_stages(model: 'TwoStageDetector', image: Tensor) -> None:
    features = model.extract_feat(image)
    model.rpn_head(features)
    roi_head = model.roi_head
    _run_on_regions(roi_head.bbox_roi_extractor, roi_head.bbox_head, BOX_REGIONS)
    if roi_head.with_mask:
        _run_on_regions(roi_head.mask_roi_extractor, roi_head.mask_head, MASK_REGIONS)


def _run_on_regions(extractors: nn.Module, heads: nn.Module, regions: int) -> None:
    """Runs each stage's head on regions; which these are, and what is in them, does not matter."""
    for extractor, head in zip(_stages(extractors), _stages(heads), strict=True):
        size = extractor.roi_layers[0].output_size
        head(torch.empty(regions, extractor.out_channels, *size, device='meta'))


def _stages(module: nn.Module) -> list:
    """Returns a cascade's stages, or the only one of another detector."""
    return list(module) if isinstance(module, nn.ModuleList) else [module]


class _Recorder:
    """Counts the multiply-adds of each module of a model.

    Mixers that predict their kernels are counted by a rule: whatever operators do it, their product
    takes k * k multiply-adds for each value of the output. `FlopCounterMode` would see it only
    where it is a convolution.

    Args:
        model: The model; it gets hooks that stay.
    """

    def __init__(self, model: nn.Module) -> None:
        self._counter = FlopCounterMode(display=False)
        self._by_rule = 0
        # Of the modules being run, outermost first: the total before, and what those took that were
        # called since.
        self._running: list[tuple[int, int]] = []
        # Without what the modules take that it calls: they need not be its parts, nor all parts of
        # a module be called by it.
        self._own: Counter[nn.Module] = Counter()
        for module in model.modules():
            module.register_forward_pre_hook(self._enter)
            module.register_forward_hook(self._leave)

    def record(self, run: Callable[[Tensor], object], image: Tensor) -> None:
        """Counts what running the model on an image takes."""
        with torch.no_grad(), self._counter:
            run(image)

    def costs(self, model: nn.Module) -> dict[str, Cost]:
        """Returns the costs of the model and its modules, by name."""
        costs = {
            name: Cost(
                sum(parameter.numel() for parameter in module.parameters()),
                sum(self._own[part] for part in module.modules()),
            )
            for name, module in model.named_modules()
        }
        # Not all need be in a module of the model.
        return {**costs, '': Cost(costs[''].parameters, self._total())}

    def _total(self) -> int:
        return self._counter.get_total_flops() // 2 + self._by_rule

    def _enter(self, module: nn.Module, args: tuple) -> None:
        self._running.append((self._total(), 0))

    def _leave(self, module: nn.Module, args: tuple, output: Any) -> None:
        before, called = self._running.pop()
        own = self._total() - before - called
        if isinstance(module, DynamicMixer | InhomogeneousMixer):
            product = module.kernel_size**2 * output.numel()
            self._by_rule += product - own
            own = product
        self._own[module] += own
        if self._running:
            before, others = self._running[-1]
            self._running[-1] = before, others + called + own
