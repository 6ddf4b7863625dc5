"""The three tasks of the demo: their data and scores."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DATA = Path('data/digit_scenes')
WORK_DIR = Path('work_dirs/demo')


@dataclass(frozen=True)
class Task:
    """One model of the demo. Paths are relative to the checkout.

    Attributes:
        name: 'classify', 'detect' or 'segment', as for tools/finetune.py.
        data: Its folder of data.
        scores: From keys in the demo's `results.json` to the metric's name and the factor that
            makes it a percentage.
    """

    name: str
    data: Path
    scores: Mapping[str, tuple[str, float]]

    @property
    def out(self) -> Path:
        """Return the folder of its config, checkpoints and report."""
        return WORK_DIR / self.name


TASKS = (
    Task('classify', DATA / 'imagenet', {'top1': ('accuracy/top1', 1)}),
    Task(
        'detect',
        DATA / 'coco',
        {'bbox_mAP': ('coco/bbox_mAP', 100), 'segm_mAP': ('coco/segm_mAP', 100)},
    ),
    Task('segment', DATA / 'ade', {'mIoU': ('mIoU', 1)}),
)
TITLES = {'top1': 'top-1', 'bbox_mAP': 'box mAP', 'segm_mAP': 'mask mAP', 'mIoU': 'mIoU'}
