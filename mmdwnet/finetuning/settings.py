"""The numbers of a config, from the data and the machine."""

import os
from dataclasses import dataclass
from statistics import median, quantiles

import torch
from torch import nn

from mmdwnet.errors import UserError

from .found import Found
from .memory import fitting_batch

_STRIDE = 32  # pixels, of the backbone's last stage
_SMALLEST_OBJECT = 16  # pixels that a quarter of the objects may be smaller than


@dataclass(frozen=True)
class Usual:
    """What has proved good for a task and a kind of model.

    Attributes:
        sizes: The smallest and the largest image size in pixels.
        batch_size: Images per step, which the learning rate is meant for.
        lr: The learning rate with pretrained weights, and from scratch.
        steps: How many steps a training has, likewise, if that makes whole epochs.
        epochs: The smallest and the largest number of epochs.
    """

    sizes: tuple[int, int]
    batch_size: int
    lr: tuple[float, float]
    steps: tuple[int, int]
    epochs: tuple[int, int]


_NANO = {
    'classify': Usual((64, 128), 32, (3e-3, 3e-3), (1500, 1500), (1, 100)),
    'detect': Usual((160, 192), 4, (1.5e-3, 1.5e-3), (400, 450), (1, 100)),
    'segment': Usual((160, 192), 8, (4e-3, 4e-3), (900, 800), (1, 100)),
}
_LARGER = {
    'classify': Usual((64, 224), 64, (2e-4, 1e-3), (6000, 12000), (5, 100)),
    'detect': Usual((320, 1024), 8, (1e-4, 2e-4), (6000, 12000), (5, 50)),
    'segment': Usual((224, 512), 8, (2e-4, 4e-4), (6000, 12000), (5, 100)),
}


@dataclass(frozen=True)
class Settings:
    """The numbers of a config.

    Attributes:
        size: Image size in pixels: the side of a classifier's input and of a segmentor's crop, the
            longer side of a detector's input.
        batch_size: Images per step and process.
        epochs: Epochs of training.
        lr: Learning rate for `base_batch_size`.
        base_batch_size: Batch size that the learning rate is meant for.
        warmup: Steps until the learning rate is reached.
        frozen_stages: Frozen stages of the backbone, as in `DWNet`.
        workers: Processes that load training images.
        nano: Whether the model is a nano model, which trains too briefly for strong augmentation.
        colors: Whether the colors of training images are varied.
        class_weight: Weights of the classes in a segmentor's loss, if they differ.
    """

    size: int
    batch_size: int
    epochs: int
    lr: float
    base_batch_size: int
    warmup: int
    frozen_stages: int
    workers: int
    nano: bool
    colors: bool
    class_weight: list[float] | None = None

    @property
    def val_interval(self) -> int:
        """Return the epochs between two validations, of which there are about ten."""
        return max(1, self.epochs // 10)


def choose(
    found: Found,
    backbone: nn.Module,
    nano: bool,
    pretrained: bool,
    size: int | None = None,
    batch_size: int | None = None,
    epochs: int | None = None,
) -> Settings:
    """Choose the numbers that are not given.

    Args:
        found: The data.
        backbone: The model's backbone, on the CPU.
        nano: Whether the model is one of the nano models.
        pretrained: Whether it starts from weights.
        size: As in `Settings`.
        batch_size: As in `Settings`.
        epochs: As in `Settings`.

    Raises:
        UserError: There are too few images.
    """
    images = len(trained_on(found))
    if images < 2 or not found.splits.get('val'):
        raise UserError(
            f'{images} images to train and {len(found.splits.get("val", ()))} to validate are too '
            'few: give at least 2 and 1'
        )
    if found.task == 'segment' and len(found.classes) < 2:
        raise UserError(
            f'the label maps have one class, {found.classes[0]}, and nothing to tell it from: '
            'label the background as a class of its own'
        )
    usual = (_NANO if nano else _LARGER)[found.task]
    size = size or image_size(found, *usual.sizes)
    most = max(2, min(usual.batch_size, images // 4))
    batch_size = min(batch_size or fitting_batch(backbone, found.task, size, most), images)
    per_epoch = images // batch_size
    low, high = usual.epochs
    epochs = epochs or max(low, min(high, round(usual.steps[not pretrained] / per_epoch)))
    cores = len(os.sched_getaffinity(0))
    return Settings(
        size=size,
        batch_size=batch_size,
        epochs=epochs,
        lr=usual.lr[not pretrained],
        base_batch_size=usual.batch_size,
        # A detector's boxes need longer to settle.
        warmup=max(1, epochs * per_epoch // (5 if found.task == 'detect' else 10)),
        frozen_stages=(-1 if not pretrained or images >= 1000 else 2 if images >= 100 else 3),
        # Starting them takes longer than reading a few images.
        workers=0 if images < 100 else min(cores, 8 if torch.cuda.is_available() else 2),
        nano=nano,
        colors=not nano and images < 2000,
    )


def trained_on(found: Found) -> list:
    """Return the samples that a model trains on: for detection, those that have objects."""
    samples = found.splits.get('train', [])
    return [one for one in samples if one.objects] if found.task == 'detect' else samples


def image_size(found: Found, smallest: int, largest: int) -> int:
    """Return the size to scale images to, a multiple of the backbone's stride.

    It is the median size in the data, within bounds. For detection it is up to twice the larger
    bound if objects would become too small to be found.

    Args:
        found: The data.
        smallest: The smallest size in pixels.
        largest: The largest size in pixels.
    """
    samples = trained_on(found)
    side = max if found.task == 'detect' else min
    typical = median(side(sample.size) for sample in samples)
    wanted = max(smallest, min(typical, largest))
    if found.task == 'detect':
        shares = [
            ((x2 - x1) * (y2 - y1)) ** 0.5 / max(sample.size)
            for sample in samples
            for x1, y1, x2, y2 in (each.box for each in sample.objects)
        ]
        small = quantiles(shares, n=4)[0] if len(shares) > 1 else shares[0]
        needed = _SMALLEST_OBJECT / max(small, 1e-3)
        wanted = max(wanted, min(needed, typical, 2 * largest))
    return max(_STRIDE, round(wanted / _STRIDE) * _STRIDE)
