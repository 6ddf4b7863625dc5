"""Parameters and multiply-adds of whole models: backbone, neck and heads.

Models run on torch's meta device, where a detector at 1280 x 800 pixels takes a second and no
memory. torch's `FlopCounterMode` counts convolutions and linear layers. As usual, norms,
activations, pooling, interpolation and RoIAlign are not counted.
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

if TYPE_CHECKING:
    from mmdet.models import TwoStageDetector

# Image shapes (height, width) of the published counts.
SHAPES = {'mmpretrain': (224, 224), 'mmdet': (800, 1280), 'mmseg': (512, 2048)}
MAX_SIDE = 2**16
# Published figures of two-stage detectors use these numbers of regions: get_flops.py of mmdet 2.x
# ran each box head on 1000 regions and each mask head on 100.
BOX_REGIONS = 1000
MASK_REGIONS = 100


@dataclass(frozen=True)
class Cost:
    """Cost of a model or a module.

    Attributes:
        parameters: Number of parameters.
        multiply_adds: Multiply-adds for one image; called FLOPs in papers.
    """

    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Complexity:
    """Cost of a model and each of its modules.

    Attributes:
        shape: Height and width of the image, in pixels.
        modules: Costs by module name, in the order of the model, submodules included.
    """

    shape: tuple[int, int]
    modules: dict[str, Cost]

    @property
    def total(self) -> Cost:
        """Cost of the whole model; heads used only in training add only parameters."""
        return self.modules['']


def measure(cfg: Config, shape: tuple[int, int] | None = None) -> Complexity:
    """Count parameters and multiply-adds of the model of a config in evaluation mode.

    Args:
        cfg: Config of mmpretrain, mmdet or mmseg.
        shape: Height and width of the image, in pixels. Defaults to `default_shape(cfg)`.

    Returns:
        The costs.

    Raises:
        UserError: The model cannot be built, does not accept images of this shape, or is a detector
            that has neither one nor two stages.
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
    """Return the image shape at which a model is counted by default.

    Args:
        cfg: Config of mmpretrain, mmdet or mmseg.

    Returns:
        Height and width, in pixels: what a classifier's test pipeline crops or resizes to if it
        gives a size, otherwise the shape in `SHAPES`.
    """
    shape = SHAPES[cfg.default_scope]
    if cfg.default_scope == 'mmpretrain':
        for step in cfg.get('test_dataloader', {}).get('dataset', {}).get('pipeline', []):
            key = {'CenterCrop': 'crop_size', 'Resize': 'scale'}.get(
                getattr(step['type'], '__name__', step['type'])
            )
            if key in step and not step.get('keep_ratio'):
                width, height = (step[key],) * 2 if isinstance(step[key], int) else step[key]
                shape = height, width
    return shape


class _ParametersOnMeta(TorchFunctionMode):
    """Allocate parameters on the meta device, so that building takes no time.

    Making meta the default device would break modules that compute with other tensors, for example
    drop path rates from `linspace`. Parameters are created with `empty`.
    """

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.empty and kwargs.get('device') is None:
            kwargs = {**kwargs, 'device': 'meta'}
        return func(*args, **kwargs)


def _runner(model: nn.Module, scope: str) -> Callable[[Tensor], object]:
    """Return a function that runs all parts of a model used in inference on an image."""
    if scope == 'mmdet':
        from mmdet.models import MaskFormer, SingleStageDetector, TwoStageDetector

        if isinstance(model, TwoStageDetector):
            return lambda image: _run_two_stages(model, image)
        # MaskFormer is derived from the detectors of one stage, but has their parts alone.
        if not isinstance(model, SingleStageDetector) or isinstance(model, MaskFormer):
            raise UserError(
                f'{type(model).__name__} is a detector of neither one nor two stages, which cannot '
                'be counted: count its backbone in a classifier'
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
    """Run the head of each stage on regions, whose contents do not affect the count."""
    for extractor, head in zip(_stages(extractors), _stages(heads), strict=True):
        size = extractor.roi_layers[0].output_size
        head(torch.empty(regions, extractor.out_channels, *size, device='meta'))


def _stages(module: nn.Module) -> list:
    """Return the stages of a cascade, or the single stage of another detector."""
    return list(module) if isinstance(module, nn.ModuleList) else [module]


class _Recorder:
    """Count the multiply-adds of each module of a model.

    Args:
        model: The model; hooks are registered on it permanently.
    """

    def __init__(self, model: nn.Module) -> None:
        self._counter = FlopCounterMode(display=False)
        # For each running module, outermost first: the total before it, and the count of modules
        # that it has called.
        self._running: list[tuple[int, int]] = []
        # Excludes the modules that a module calls: they may not be its submodules, and it may not
        # call all of its submodules.
        self._own: Counter[nn.Module] = Counter()
        for module in model.modules():
            module.register_forward_pre_hook(self._enter)
            module.register_forward_hook(self._leave)

    def record(self, run: Callable[[Tensor], object], image: Tensor) -> None:
        """Count the multiply-adds of running the model on an image."""
        with torch.no_grad(), self._counter:
            run(image)

    def costs(self, model: nn.Module) -> dict[str, Cost]:
        """Return the costs of the model and its modules, by name."""
        costs = {
            name: Cost(
                sum(parameter.numel() for parameter in module.parameters()),
                sum(self._own[part] for part in module.modules()),
            )
            for name, module in model.named_modules()
        }
        # The total includes operations outside all modules.
        return {**costs, '': Cost(costs[''].parameters, self._total())}

    def _total(self) -> int:
        return self._counter.get_total_flops() // 2

    def _enter(self, module: nn.Module, args: tuple) -> None:
        self._running.append((self._total(), 0))

    def _leave(self, module: nn.Module, args: tuple, output: Any) -> None:
        before, called = self._running.pop()
        own = self._total() - before - called
        self._own[module] += own
        if self._running:
            before, others = self._running[-1]
            self._running[-1] = before, others + called + own
