"""Data samples of the three libraries, with predictions, as their tests hand them to metrics."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import Evaluator
from mmengine.fileio import load
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from PIL import Image

from mmdwnet.finetuning.outcomes import Outcomes

# isort: split
# After mmdwnet, which stands in for the operators that they import.
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmpretrain.structures import DataSample
from mmseg.structures import SegDataSample


def write_image(folder: Path, name: str = 'image.png', size: tuple[int, int] = (64, 48)) -> Path:
    path = folder / name
    Image.new('RGB', size, (90, 120, 150)).save(path)
    return path


def classified(path: Path, truth: int, scores: Sequence[float]) -> DataSample:
    sample = DataSample(metainfo={'img_path': str(path)})
    sample.set_gt_label(truth).set_pred_score(torch.tensor(scores))
    return sample.set_pred_label(int(np.argmax(scores)))


def detected(path: Path, truth: Sequence, found: Sequence, masks: bool = False) -> DetDataSample:
    """`truth` has pairs of label and box, `found` label, box and score."""
    width, height = Image.open(path).size

    def masks_of(boxes: torch.Tensor) -> np.ndarray:
        drawn = np.zeros((len(boxes), height, width), np.uint8)
        for one, (x1, y1, x2, y2) in zip(drawn, boxes.int().tolist(), strict=True):
            one[y1:y2, x1:x2] = 1
        return drawn

    def instances(entries: Sequence) -> InstanceData:
        boxes = torch.tensor([entry[1] for entry in entries]).float().reshape(-1, 4)
        labels = torch.tensor([entry[0] for entry in entries]).long()
        return InstanceData(bboxes=boxes, labels=labels)

    sample = DetDataSample(metainfo={'img_path': str(path), 'ori_shape': (height, width)})
    sample.gt_instances, sample.pred_instances = instances(truth), instances(found)
    sample.pred_instances.scores = torch.tensor([entry[2] for entry in found]).float()
    if masks:
        true = sample.gt_instances
        true.masks = BitmapMasks(masks_of(true.bboxes), height, width)
        sample.pred_instances.masks = torch.from_numpy(masks_of(sample.pred_instances.bboxes)) > 0
    return sample


def segmented(path: Path, truth: Any, predicted: Any) -> SegDataSample:
    sample = SegDataSample(metainfo={'img_path': str(path)})
    sample.gt_sem_seg = PixelData(data=torch.as_tensor(np.asarray(truth, np.uint8))[None])
    sample.pred_sem_seg = PixelData(data=torch.as_tensor(predicted).long()[None])
    return sample


def outcomes(
    file: Path, samples: Iterable[BaseDataElement], classes: Sequence[str], **options: Any
) -> dict:
    """What the metric writes of a test."""
    evaluator = Evaluator([Outcomes(file, **options)])
    evaluator.dataset_meta = {'classes': tuple(classes)}
    count = 0
    for sample in samples:
        evaluator.process([sample])
        count += 1
    assert evaluator.evaluate(count) == {}
    return load(file)
