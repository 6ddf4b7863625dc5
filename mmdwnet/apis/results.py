"""What a model predicts for an image, as plain objects."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.structures import BaseDataElement
from PIL import Image

from mmdwnet.errors import UserError

from .sources import Source

_LEGIBLE = 224  # pixels of the shorter side, to which smaller images are enlarged for text


class Result:
    """What a model predicts for an image.

    Attributes:
        path: Path or address of the image; None for one that was given in memory.
        data_sample: The prediction as mmpretrain, mmdet or mmseg returned it, on the CPU.
    """

    def __init__(
        self, data_sample: BaseDataElement, source: Source, inferencer: Any, score_thr: float
    ) -> None:
        self.path = source.path
        self.data_sample: Any = data_sample
        self._source, self._inferencer, self._score_thr = source, inferencer, score_thr

    def draw(self) -> Image.Image:
        """Draw the prediction into the image, as the library does."""
        return Image.fromarray(self._drawn(np.ascontiguousarray(self._source.read()[..., ::-1])))

    def save(self, path: str | Path) -> None:
        """Draw the prediction into a file, in the format of its suffix; make missing folders.

        Raises:
            UserError: The file cannot be written.
        """
        image = self.draw()
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            image.save(path)
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
        names = self._inferencer.model.dataset_meta['classes'] or ()
        return names[index] if index < len(names) else str(index)

    def _drawn(self, image: np.ndarray, **options: object) -> np.ndarray:
        """Draw into a copy of an image (H, W, 3), uint8, RGB."""
        options['return_vis'] = True
        return self._inferencer.visualize([image], [self.data_sample], **options)[0]

    def _fields(self) -> dict[str, Any]:
        raise NotImplementedError

    def _summary(self) -> str:
        raise NotImplementedError


class Classification(Result):
    """The class of an image.

    Attributes:
        label: The name of the most likely class.
        score: Its score, between 0 and 1.
        scores: The scores of all classes, (classes,), float32.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.scores: np.ndarray = self.data_sample.pred_score.numpy()
        self.label = self._name(int(self.scores.argmax()))
        self.score = float(self.scores.max())

    def _drawn(self, image: np.ndarray, **_: object) -> np.ndarray:
        resize = _LEGIBLE if min(image.shape[:2]) < _LEGIBLE else None
        return self._inferencer.visualizer.visualize_cls(
            image, self.data_sample, draw_gt=False, resize=resize
        )

    def _fields(self) -> dict[str, Any]:
        return dict(label=self.label, score=self.score, scores=self.scores.tolist())

    def _summary(self) -> str:
        return f'{self.label} {self.score:.2f}'


class Detection(Result):
    """The objects in an image with scores above `score_thr`; `data_sample` has all of them.

    Attributes:
        boxes: Their boxes x1, y1, x2, y2 in pixels, (objects, 4), float32.
        labels: The names of their classes.
        scores: Their scores, (objects,), float32.
        masks: Their masks, (objects, H, W), bool; None if the model predicts boxes alone.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        instances = self.data_sample.pred_instances
        instances = instances[instances.scores > self._score_thr].numpy()
        self.boxes: np.ndarray = instances.bboxes
        self.labels = [self._name(index) for index in instances.labels]
        self.scores: np.ndarray = instances.scores
        self.masks: np.ndarray | None = instances.get('masks')

    def _drawn(self, image: np.ndarray, **_: object) -> np.ndarray:
        return super()._drawn(image, pred_score_thr=self._score_thr)

    def _fields(self) -> dict[str, Any]:
        columns = [self.labels, self.scores.tolist(), self.boxes.tolist()]
        names = ['label', 'score', 'box']
        if self.masks is not None:
            columns.append([_run_lengths(mask) for mask in self.masks])
            names.append('mask')
        return dict(
            objects=[dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
        )

    def _summary(self) -> str:
        counts = Counter(self.labels).items()
        return ', '.join(f'{count} {label}' for label, count in counts) or 'nothing'


class Segmentation(Result):
    """The classes of an image's pixels.

    Attributes:
        map: The index of each pixel's class, (H, W), int64.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.map: np.ndarray = self.data_sample.pred_sem_seg.data[0].numpy()

    def _fields(self) -> dict[str, Any]:
        return dict(
            regions=[
                dict(label=self._name(index), share=share, mask=_run_lengths(self.map == index))
                for index, share in self._shares()
            ]
        )

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
