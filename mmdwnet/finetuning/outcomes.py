"""What the report shows of a test: which classes are confused, and some of the predictions."""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.fileio import dump
from torch import Tensor
from torchvision.ops import box_iou
from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks

from .drawing import class_colors, encode, load_small

SCORE = 0.3  # of detections that count; the default of OpenMMLab's inferencers, too
_IOU = 0.5  # with which a detection and an object match
_SIDES = {'classify': 160, 'detect': 320, 'segment': 320}  # of pictures, in pixels


class Outcomes(BaseMetric):
    """A metric without scores, which writes counts and some predictions into a JSON file.

    It is for the test of a classifier, detector or segmentor in one process. However many images
    are tested, it keeps the counts and a fixed number of small pictures.

    Args:
        out_file: The file, which ends in .json.
        worst: How many of the worst predictions to keep.
        others: How many to choose at random from all, the same ones each time.
    """

    default_prefix = 'outcomes'

    def __init__(self, out_file: str | Path, worst: int = 16, others: int = 8) -> None:
        super().__init__()
        self.out_file, self.worst, self.others = str(out_file), worst, others

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Count the predictions of one batch, and keep those to be shown."""
        for sample in data_samples:
            if not self.results:
                self._start(sample)
            self._add(sample)
            self.results.append(None)  # mmengine wants something for each image

    def _start(self, sample: dict) -> None:
        meta = self.dataset_meta or {}
        self.classes = list(meta['classes'])
        self.colors = class_colors(meta.get('palette'), len(self.classes))
        keys = {'pred_sem_seg': 'segment', 'pred_instances': 'detect', 'pred_score': 'classify'}
        self.task = next(task for key, task in keys.items() if key in sample)
        size = len(self.classes) + (self.task == 'detect')  # the last one is the background
        self.confusion = np.zeros((size, size), np.int64)
        self.kept_worst: list[dict] = []
        self.kept_others: list[dict] = []
        self.lots = random.Random(0)

    def _add(self, sample: dict) -> None:
        judge = {'classify': _judge_label, 'detect': _judge_objects, 'segment': _judge_map}
        counts, quality = judge[self.task](sample, len(self.confusion))
        self.confusion += counts
        number = len(self.results)
        bad = len(self.kept_worst) < self.worst or quality < self.kept_worst[-1]['quality']
        place = number if number < self.others else self.lots.randrange(number + 1)
        if not bad and place >= self.others:
            return
        entry = {'number': number, 'quality': quality, **self._show(sample)}
        if bad:
            self.kept_worst.append(entry)
            self.kept_worst.sort(key=lambda one: (one['quality'], one['number']))
            del self.kept_worst[self.worst :]
        if place < self.others:
            self.kept_others[place : place + 1] = [entry]

    def _show(self, sample: dict) -> dict[str, Any]:
        """Return pictures of the truth and the prediction, and the classes in them."""
        image = load_small(sample['img_path'], _SIDES[self.task])
        shown: dict[str, Any] = {'file': Path(sample['img_path']).name}
        if self.task == 'classify':
            labels = [int(sample[key]) for key in ('gt_label', 'pred_label')]
            score = float(sample['pred_score'][labels[1]])
            return {**shown, 'pictures': [encode(image)], 'labels': labels, 'score': score}
        shown |= {'labels': [], 'pictures': []}
        sides = _objects if self.task == 'detect' else _regions
        for labels, masks, boxes in sides(sample, tuple(image.shape[1:])):
            drawn, colors = image, [self.colors[label] for label in labels]
            if labels and masks is not None:
                drawn = draw_segmentation_masks(drawn, masks, alpha=0.55, colors=colors)
            if labels and boxes is not None:
                drawn = draw_bounding_boxes(drawn, boxes, colors=colors, width=2)
            shown['labels'].append(sorted(labels))
            shown['pictures'].append(encode(drawn))
        return shown

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Write the file, and return no metrics."""
        worst = {entry['number'] for entry in self.kept_worst}
        others = [entry for entry in self.kept_others if entry['number'] not in worst]
        content = dict(
            task=self.task,
            images=len(results),
            classes=self.classes,
            colors=['#{:02x}{:02x}{:02x}'.format(*color) for color in self.colors],
            confusion=self.confusion.tolist(),
            worst=self.kept_worst,
            others=sorted(others, key=lambda entry: entry['number']),
        )
        dump(content, self.out_file, backend_args=dict(backend='atomic'))
        return {}


def _tally(truth: np.ndarray, predicted: np.ndarray, size: int) -> np.ndarray:
    """Count pairs of classes: rows are the true ones, columns the predicted ones."""
    return np.bincount(truth * size + predicted, minlength=size**2).reshape(size, size)


def _judge_label(sample: dict, size: int) -> tuple[np.ndarray, float]:
    """Count one image; its quality is the probability that the true class got."""
    truth, predicted = (sample[key].cpu().numpy().ravel() for key in ('gt_label', 'pred_label'))
    return _tally(truth, predicted, size), float(sample['pred_score'][truth.item()])


def _maps(sample: dict) -> list[Tensor]:
    """Return the true and the predicted label map, shape (H, W)."""
    return [sample[key]['data'].squeeze(0).cpu().long() for key in ('gt_sem_seg', 'pred_sem_seg')]


def _judge_map(sample: dict, size: int) -> tuple[np.ndarray, float]:
    """Count the pixels that have a class; the quality is the mean IoU in the image."""
    truth, predicted = _maps(sample)
    known = truth < size
    counts = _tally(truth[known].numpy(), predicted[known].numpy(), size)
    union = counts.sum(0) + counts.sum(1) - counts.diagonal()
    iou = counts.diagonal()[union > 0] / union[union > 0]
    return counts, float(iou.mean()) if len(iou) else 1.0


def _shrink(maps: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Take as many rows and columns of maps, shape (..., H, W), as a picture has."""
    rows, columns = (torch.arange(n) * m // n for n, m in zip(shape, maps.shape[-2:], strict=True))
    return maps[..., rows[:, None], columns]


def _regions(sample: dict, shape: tuple[int, ...]) -> Iterator[tuple]:
    """Yield labels and masks, at a picture's height and width, of the truth and the prediction."""
    for labels in _maps(sample):
        small = _shrink(labels, shape)
        there = [int(label) for label in small.unique() if label < 255]
        yield there, small == torch.tensor(there)[:, None, None], None


def _confident(sample: dict, *keys: str) -> dict[str, Any]:
    """Return some properties of the detections that count."""
    found = sample['pred_instances']
    keep = found['scores'] >= SCORE
    return {key: found[key][keep].cpu() for key in keys if key in found}


def _judge_objects(sample: dict, size: int) -> tuple[np.ndarray, float]:
    """Count objects and detections; the quality is their F1 score."""
    from scipy.optimize import linear_sum_assignment  # mmdet requires it

    true, found = sample['gt_instances'], _confident(sample, 'bboxes', 'labels')
    truth, labels = true['labels'].cpu().numpy(), found['labels'].numpy()
    iou = box_iou(true['bboxes'].cpu(), found['bboxes']).numpy()
    # Matches of the same class come first.
    value = (iou >= _IOU) * (1 + iou + 2 * (truth[:, None] == labels))
    rows, columns = linear_sum_assignment(value, maximize=True)
    match = value[rows, columns] > 0
    rows, columns = rows[match], columns[match]
    predicted = np.full_like(truth, size - 1)
    predicted[rows] = labels[columns]
    extra = np.delete(labels, columns)
    truth = np.concatenate([truth, np.full_like(extra, size - 1)])
    counts = _tally(truth, np.concatenate([predicted, extra]), size)
    total = counts[:-1].sum() + counts[:, :-1].sum()
    return counts, 2 * float(counts.trace() / total) if total else 1.0


def _objects(sample: dict, shape: tuple[int, ...]) -> Iterator[tuple]:
    """Yield labels, masks if there are any, and boxes, of the truth and the prediction."""
    factor = shape[1] / sample['ori_shape'][1]
    found = _confident(sample, 'bboxes', 'labels', 'masks')
    for instances in (sample['gt_instances'], found):
        masks = instances.get('masks')
        if isinstance(masks, Tensor):
            masks = _shrink(masks, shape)
        elif masks is not None:
            masks = torch.from_numpy(masks.resize(shape).to_ndarray()).bool()
        yield instances['labels'].tolist(), masks, instances['bboxes'].cpu() * factor
