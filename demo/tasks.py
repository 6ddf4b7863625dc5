"""The three tasks of the demo: their configs, folders and scores."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DATA = Path('data/digit_scenes')
WORK_DIR = Path('work_dirs/demo')


@dataclass(frozen=True)
class Task:
    """One model of the demo. Paths are relative to the checkout.

    Attributes:
        name: 'classify', 'detect' or 'segment'.
        config: Its config.
        scores: From keys in `results.json` to the metric's name and the factor that makes it a
            percentage.
        seconds: Duration of training and test on two cores, for the first estimates of the time
            left.
    """

    name: str
    config: Path
    scores: Mapping[str, tuple[str, float]]
    seconds: float

    @property
    def work_dir(self) -> Path:
        """Return the folder of logs, checkpoints and predictions."""
        return WORK_DIR / self.name

    @property
    def predictions(self) -> Path:
        """Return the file of the test's predictions."""
        return self.work_dir / 'predictions.pkl'


TASKS = (
    Task(
        'classify',
        Path('configs/demo/dwnet_nano_digits.py'),
        {'top1': ('accuracy/top1', 1)},
        seconds=140,
    ),
    Task(
        'detect',
        Path('configs/demo/cascade_mask_rcnn_dwnet_nano_digits.py'),
        {'bbox_mAP': ('coco/bbox_mAP', 100), 'segm_mAP': ('coco/segm_mAP', 100)},
        seconds=360,
    ),
    Task(
        'segment',
        Path('configs/demo/upernet_dwnet_nano_digits.py'),
        {'mIoU': ('mIoU', 1)},
        seconds=360,
    ),
)
TITLES = {'top1': 'top-1', 'bbox_mAP': 'box mAP', 'segm_mAP': 'mask mAP', 'mIoU': 'mIoU'}
