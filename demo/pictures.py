"""Pictures of predictions and ground truth."""

import json
import pickle

import mmcv
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from pycocotools import mask as rle

from demo.digit_scenes import CLASSES, PALETTE

from .tasks import DATA, Task

_COLORS = np.array(PALETTE)
_SCORE = 0.5  # detections below it are not drawn
_SCENES = 6


def draw_predictions(task: Task) -> Figure:
    """Draw some of a task's test predictions and their ground truth.

    Args:
        task: A task that has been tested.

    Returns:
        The figure.
    """
    predictions = pickle.loads(task.predictions.read_bytes())
    draw = {'classify': _draw_digits, 'detect': _draw_instances, 'segment': _draw_maps}
    return draw[task.name](predictions)


def _draw_digits(predictions: list[dict]) -> Figure:
    """Draw digits from the whole test set, with their predicted and, if different, true classes."""
    figure = Figure(figsize=(12, 3.4), layout='constrained')
    chosen = predictions[:: max(1, len(predictions) // 24)][:24]
    for axes, sample in zip(_grid(figure, 2, 12), chosen, strict=False):
        predicted, true = (CLASSES[int(sample[key])] for key in ('pred_label', 'gt_label'))
        axes.imshow(_load(sample['img_path']))
        right = predicted == true
        title = predicted if right else f'{predicted}\n(is {true})'
        axes.set_title(title, color='#389826' if right else '#cb3c33')
    return figure


def _draw_instances(predictions: list[dict]) -> Figure:
    """Draw scenes with the true boxes and masks, and below with the predicted ones."""
    with (DATA / 'coco/annotations/instances_val2017.json').open() as file:
        truth = json.load(file)['annotations']
    figure = Figure(figsize=(12, 4.4), layout='constrained')
    above, below = np.split(_grid(figure, 2, _SCENES), 2)
    for column, sample in enumerate(predictions[:_SCENES]):
        image = _load(sample['img_path'])
        true = [
            (CLASSES[entry['category_id'] - 1], entry['bbox'], rle.decode(entry['segmentation']))
            for entry in truth
            if entry['image_id'] == sample['img_id']
        ]
        found = sample['pred_instances']
        keep = np.flatnonzero(np.asarray(found['scores']) >= _SCORE)
        corners = np.asarray(found['bboxes'])[keep]
        sides = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
        predicted = [
            (CLASSES[int(found['labels'][i])], box, rle.decode(found['masks'][i]))
            for i, box in zip(keep, sides, strict=True)
        ]
        _draw_scene(above[column], image, true)
        _draw_scene(below[column], image, predicted)
    _name_rows(above[0], below[0])
    return figure


def _draw_scene(axes: Axes, image: np.ndarray, instances: list[tuple]) -> None:
    """Draw instances, each a name, a box (x, y, width, height) and a mask, over an image."""
    shown = image * 0.55
    for name, _, mask in instances:
        inside = mask.astype(bool)
        shown[inside] = 0.3 * image[inside] + 0.7 * _COLORS[CLASSES.index(name) + 1]
    axes.imshow(shown.astype(np.uint8))
    for name, (x, y, width, height), _ in instances:
        color = _COLORS[CLASSES.index(name) + 1] / 255
        axes.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor=color))
        axes.text(x, y - 1, name, color='white', fontsize=8, va='bottom', clip_on=True)


def _draw_maps(predictions: list[dict]) -> Figure:
    """Draw scenes, and below them the true and the predicted label maps."""
    figure = Figure(figsize=(12, 6.4), layout='constrained')
    rows = np.split(_grid(figure, 3, _SCENES), 3)
    # Not the scenes that the detector's picture shows.
    for column, sample in enumerate(predictions[_SCENES : 2 * _SCENES]):
        image = _load(sample['img_path'])
        # On disk, 0 means unlabeled and classes start at 1.
        true = mmcv.imread(sample['seg_map_path'], 'grayscale').astype(int) - 1
        predicted = np.asarray(sample['pred_sem_seg']['data']).squeeze()
        for row, shown in zip(rows, (image, _COLORS[true], _COLORS[predicted]), strict=True):
            row[column].imshow(shown)
    rows[0][0].set_ylabel('image')
    _name_rows(rows[1][0], rows[2][0])
    return figure


def _grid(figure: Figure, rows: int, columns: int) -> np.ndarray:
    """Add axes without ticks, row by row."""
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for one in axes:
        one.set(xticks=[], yticks=[])
    return axes


def _name_rows(truth: Axes, prediction: Axes) -> None:
    truth.set_ylabel('truth')
    prediction.set_ylabel('prediction')


def _load(path: str) -> np.ndarray:
    """Read an image as RGB."""
    return mmcv.imread(path, channel_order='rgb')
