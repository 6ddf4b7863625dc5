"""Classifiers, ours and those of timm, as functions to time: a training step or inference."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
import torch.nn.functional as F  # noqa: N812
from mmengine import dist
from mmengine.config import Config
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mmdwnet.apis import hub
from mmdwnet.apis.building import build_model
from mmdwnet.deploy import fuse
from mmdwnet.deploy.compiling import weights_as_constants
from mmdwnet.errors import UserError

from . import engines
from .authors_layout import to_authors_layout
from .engines import PRECISIONS
from .timing import seconds

DTYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16, 'float16': torch.float16}
# Changes to a model; several are joined by '+'.
VARIANTS = ('eager', 'fused', 'compiled', *PRECISIONS, 'checkpointed', 'selective')
WITH_CP = {'checkpointed': True, 'selective': 'selective'}
AUTHORS_SUFFIX = '_nchw'


@dataclass(frozen=True)
class Run:
    """Options for running models.

    Attributes:
        mode: 'infer' or 'train'.
        batch_size: Images per step.
        input_size: Height and width of the images, in pixels.
        device: Device to run on.
    """

    mode: str
    batch_size: int
    input_size: int
    device: torch.device


@dataclass(frozen=True)
class Entrant:
    """A model to time.

    Attributes:
        label: Command-line argument: NAME, NAME:VARIANT, NAME:DTYPE or NAME:VARIANT:DTYPE.
        name: Name or config file of one of our models, optionally with '_nchw' appended, or name
            of a model of timm.
        variants: Subset of `VARIANTS`; 'eager' changes nothing.
        dtype: Key of `DTYPES`.
    """

    label: str
    name: str
    variants: frozenset[str]
    dtype: str


@dataclass(frozen=True)
class ModelSteps:
    """A model that is ready to be timed.

    Attributes:
        step: Inference or a training step, on the same images each time.
        forward: Forward pass and loss of a training step.
        parameters: Parameters and buffers of the model.
        memory_format: Memory format of the images.
    """

    step: Callable[[], object]
    forward: Callable[[], object]
    parameters: list[Tensor]
    memory_format: str


def parse_entrant(text: str, variant: str, dtype: str) -> Entrant:
    """Parse the name of a model with its variant and dtype.

    Args:
        text: NAME, NAME:VARIANT, NAME:DTYPE or NAME:VARIANT:DTYPE.
        variant: Default variant.
        dtype: Default dtype.

    Returns:
        The model to time, not yet built.

    Raises:
        UserError: There is no such variant.
    """
    name, *settings = text.split(':')
    for setting in settings:
        if setting in DTYPES:
            dtype = setting
        else:
            variant = setting
    variants = frozenset(variant.split('+'))
    if not variants <= set(VARIANTS):
        raise UserError(
            f'{text} has no variant {variant!r}: give one of {", ".join(VARIANTS)}, or several '
            "joined by '+'"
        )
    return Entrant(text, name, variants, dtype)


def prepare(entrant: Entrant, run: Run) -> ModelSteps:
    """Build a model and warm it up.

    Args:
        entrant: The model.
        run: Options for running it.

    Returns:
        The functions to time.

    Raises:
        UserError: The model is unknown, does not support the variant, or cannot be run.
    """
    torch.manual_seed(0)
    own = _own_config(entrant.name)
    if own is None and not timm.is_model(entrant.name):
        raise UserError(
            f'no classifier is named {entrant.name!r}: give one of '
            "mmdwnet.list_models('*dwnet_*'), optionally with '_nchw' appended, a config file, or "
            'one of timm.list_models()'
        )
    if own is None and entrant.variants & {'fused', *WITH_CP}:
        raise UserError(
            f'{entrant.label} cannot be {"+".join(sorted(entrant.variants))}, as only our models '
            f'can: give {entrant.name}:eager or {entrant.name}:compiled'
        )
    if run.mode == 'train' and entrant.variants & {'fused', *PRECISIONS}:
        raise UserError(f'{entrant.label} is for inference: leave it out, or give --mode infer')
    model = _timm(entrant.name, run.input_size) if own is None else _own(own, entrant)
    model.train(run.mode == 'train')
    model.to(run.device)
    dtype = DTYPES[entrant.dtype]
    if 'fused' in entrant.variants:
        fuse(model, inplace=True)
    try:
        for engine in entrant.variants & set(PRECISIONS):
            images = torch.randn(run.batch_size, 3, run.input_size, run.input_size)
            step = engines.prepare(engine, model, images.to(run.device), dtype)
            return ModelSteps(step, step, [], 'contiguous')
        if run.mode == 'infer':
            model.to(dtype)
        memory_format = 'contiguous'
        if own is None:
            memory_format = _best_memory_format(model, run, dtype)
        if 'compiled' in entrant.variants:
            model.compile()
        if dist.is_distributed():
            model = DistributedDataParallel(model)
        # The forward pass of mmpretrain has several modes; 'tensor' returns scores.
        options = {} if own is None else dict(mode='tensor')
        made = _steps(model, run, dtype, memory_format, **options)
        for _ in range(2):
            made.step()
    except (RuntimeError, AssertionError, ValueError) as error:
        raise UserError(
            f'{entrant.label} cannot be run on {run.batch_size} images of {run.input_size} x '
            f'{run.input_size} pixels in {entrant.dtype} on {run.device}: '
            f'{str(error).splitlines()[0] if str(error) else type(error).__name__}'
        ) from error
    return made


def _own_config(name: str) -> Config | None:
    """Return the config of one of our classifiers, or None for other names."""
    stem = name.removesuffix(AUTHORS_SUFFIX)
    if Path(stem).suffix == '.py':
        if not Path(stem).is_file():
            raise UserError(f'no config at {stem}: give a file, for example one of configs/')
        cfg = Config.fromfile(stem)
    elif stem in hub.list_models():
        cfg = hub.get_config(stem)
    else:
        return None
    if cfg.get('default_scope') != 'mmpretrain':
        raise UserError(f'{name} is not a classifier, and only classifiers can be timed')
    return cfg


def _own(cfg: Config, entrant: Entrant) -> nn.Module:
    # As in models of timm, whose default is no drop path.
    if 'drop_path_rate' in cfg.model.backbone:
        cfg.model.backbone.drop_path_rate = 0.0
    for variant in entrant.variants & set(WITH_CP):
        cfg.model.backbone.with_cp = WITH_CP[variant]
    model = build_model(cfg)
    return to_authors_layout(model) if entrant.name.endswith(AUTHORS_SUFFIX) else model


def _timm(name: str, input_size: int) -> nn.Module:
    pretrained = timm.get_pretrained_cfg(name)
    options: dict = {}
    if pretrained is not None and pretrained.fixed_input_size:
        options['img_size'] = input_size
    if name.startswith('convnext'):
        options['conv_mlp'] = True  # same network with 1x1 convolutions, faster on the CPU
    return timm.create_model(name, **options)


def _best_memory_format(model: nn.Module, run: Run, dtype: torch.dtype) -> str:
    """Convert a model to the memory format with the fastest steps, and return its name."""
    times = {}
    for name in ('contiguous', 'channels_last'):
        model.to(memory_format=_memory_format(name))
        step = _steps(model, run, dtype, name).step
        step()
        times[name] = min(seconds(step) for _ in range(2))
    best = min(times, key=lambda name: times[name])
    model.to(memory_format=_memory_format(best))
    return best


def _memory_format(name: str) -> torch.memory_format:
    return torch.channels_last if name == 'channels_last' else torch.contiguous_format


def _steps(
    model: nn.Module, run: Run, dtype: torch.dtype, memory_format: str, **options: str
) -> ModelSteps:
    """Return the functions to time, on images in a memory format, with options for `model`."""
    images = torch.randn(run.batch_size, 3, run.input_size, run.input_size, device=run.device)
    images = images.contiguous(memory_format=_memory_format(memory_format))
    tensors = [*model.parameters(), *model.buffers()]

    def precision() -> AbstractContextManager:
        if dtype == torch.float32:
            return nullcontext()
        return torch.autocast(run.device.type, dtype)

    if run.mode == 'infer':
        images = images.to(dtype)

        def infer() -> Tensor:
            with torch.inference_mode(), weights_as_constants():
                return model(images, **options)

        return ModelSteps(infer, infer, tensors, memory_format)

    labels = torch.zeros(run.batch_size, dtype=torch.long, device=run.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)

    def forward() -> Tensor:
        with precision():
            return F.cross_entropy(model(images, **options), labels)

    def train() -> None:
        optimizer.zero_grad()
        forward().backward()
        optimizer.step()

    return ModelSteps(train, forward, tensors, memory_format)
