"""What a model predicts for an image, as plain objects."""

import json
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.structures import BaseDataElement, InstanceData
from PIL import Image

from mmdwnet.errors import UserError

from .sources import Source

_LEGIBLE = 224  # pixels of the shorter side, to which smaller images of classifiers are enlarged


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """What a model predicts for an image.

    Attributes:
        data_sample: The prediction as mmpretrain, mmdet or mmseg returned it, on the CPU.
        source: The image.
        inferencer: The library's inferencer, which draws.
    """

    data_sample: BaseDataElement
    source: Source
    inferencer: Any

    @property
    def path(self) -> str | None:
        """Path or address of the image; None for one that was given in memory."""
        return self.source.path

    def draw(self) -> Image.Image:
        """Draw the prediction into the image, as the library does.

        Raises:
            DataError: The file of the image cannot be read any more.
        """
        return Image.fromarray(self._drawn(np.ascontiguousarray(self.source.read()[..., ::-1])))

    def save(self, path: str | Path) -> None:
        """Draw the prediction into a file.

        Args:
            path: The file; its suffix decides on the format. Missing folders are created.

        Raises:
            UserError: It cannot be written.
        """
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self.draw().save(path)
        except UserError:
            raise
        except (OSError, ValueError) as error:
            raise UserError(
                f'{path} cannot be written ({error}): choose another file, such as one.png'
            ) from error

    def to_json(self) -> str:
        """Return the prediction as a JSON object in one line; masks are COCO's run lengths."""
        return json.dumps({'path': self.path, **self._fields()}, ensure_ascii=False)

    def __str__(self) -> str:
        return f'{self.path or "image"}: {self._summary()}'

    def __repr__(self) -> str:
        return f'<{type(self).__name__} {self}>'

    def _name(self, index: int) -> str:
        """Return the name of a class, or its index where neither checkpoint nor config has it."""
        names = self.inferencer.model.dataset_meta['classes'] or ()
        return names[index] if index < len(names) else str(index)

    def _drawn(self, image: np.ndarray) -> np.ndarray:
        """Draw into a copy of an image (H, W, 3), uint8, RGB."""
        return self.inferencer.visualize([image], [self.data_sample], return_vis=True)[0]

    def _fields(self) -> dict[str, Any]:
        raise NotImplementedError

    def _summary(self) -> str:
        raise NotImplementedError


class Classification(Result):
    """The class of an image."""

    @property
    def label(self) -> str:
        """The name of the most likely class."""
        return self._name(int(self.scores.argmax()))

    @property
    def score(self) -> float:
        """The score of that class, between 0 and 1."""
        return float(self.scores.max())

    @property
    def scores(self) -> np.ndarray:
        """The scores of all classes, (classes,), float32."""
        return self.data_sample.pred_score.numpy()

    def _drawn(self, image: np.ndarray) -> np.ndarray:
        # Text needs room.
        resize = _LEGIBLE if min(image.shape[:2]) < _LEGIBLE else None
        return self.inferencer.visualizer.visualize_cls(
            image, self.data_sample, draw_gt=False, resize=resize
        )

    def _fields(self) -> dict[str, Any]:
        return dict(label=self.label, score=self.score, scores=self.scores.tolist())

    def _summary(self) -> str:
        return f'{self.label} {self.score:.2f}'


@dataclass(frozen=True, eq=False, repr=False)
class Detection(Result):
    """The objects in an image whose scores are above `score_thr`; `data_sample` has all."""

    score_thr: float

    @property
    def boxes(self) -> np.ndarray:
        """Their boxes x1, y1, x2, y2 in pixels, (objects, 4), float32."""
        return self._instances.bboxes.numpy()

    @property
    def labels(self) -> list[str]:
        """The names of their classes."""
        return [self._name(index) for index in self._instances.labels.tolist()]

    @property
    def scores(self) -> np.ndarray:
        """Their scores, (objects,), float32, highest first."""
        return self._instances.scores.numpy()

    @property
    def masks(self) -> np.ndarray | None:
        """Their masks, (objects, H, W), bool; None if the model predicts boxes alone."""
        return self._instances.masks.numpy() if 'masks' in self._instances else None

    @cached_property
    def _instances(self) -> InstanceData:
        instances = self.data_sample.pred_instances
        return instances[instances.scores > self.score_thr]

    def _drawn(self, image: np.ndarray) -> np.ndarray:
        return self.inferencer.visualize(
            [image], [self.data_sample], return_vis=True, pred_score_thr=self.score_thr
        )[0]

    def _fields(self) -> dict[str, Any]:
        objects = [
            dict(label=label, score=score, box=box)
            for label, score, box in zip(
                self.labels, self.scores.tolist(), self.boxes.tolist(), strict=True
            )
        ]
        for each, mask in zip(objects, () if self.masks is None else self.masks, strict=False):
            each['mask'] = _run_lengths(mask)
        return dict(objects=objects)

    def _summary(self) -> str:
        counts = Counter(self.labels)
        return ', '.join(f'{count} {label}' for label, count in counts.items()) or 'nothing'


class Segmentation(Result):
    """The classes of an image's pixels."""

    @cached_property
    def map(self) -> np.ndarray:
        """The index of each pixel's class, (H, W), int64."""
        return self.data_sample.pred_sem_seg.data[0].numpy()

    def _fields(self) -> dict[str, Any]:
        regions = [
            dict(label=self._name(index), share=share, mask=_run_lengths(self.map == index))
            for index, share in self._shares()
        ]
        return dict(regions=regions)

    def _summary(self) -> str:
        shares = [(index, share) for index, share in self._shares() if share >= 0.005]
        return ', '.join(f'{self._name(index)} {share:.0%}' for index, share in shares)

    def _shares(self) -> list[tuple[int, float]]:
        """Return the index of each class that is there and its share of the pixels, most first."""
        counts = Counter(dict(enumerate(np.bincount(self.map.ravel()).tolist())))
        return [(index, n / self.map.size) for index, n in counts.most_common() if n]


def _run_lengths(mask: np.ndarray) -> dict[str, Any]:
    from pycocotools import mask as coco

    encoded = coco.encode(np.asfortranarray(mask, np.uint8))
    return dict(size=encoded['size'], counts=encoded['counts'].decode())
