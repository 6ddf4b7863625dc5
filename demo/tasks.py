"""The three tasks of the demo: what is trained, where, and which scores come out."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DATA = Path('data/digit_scenes')
WORK_DIR = Path('work_dirs/demo')


@dataclass(frozen=True)
class Task:
    """One model of the demo. Paths are relative to the checkout.

    Attributes:
        name: What the model does: 'classify', 'detect' or 'segment'.
        config: Its config.
        scores: Key in `results.json`, to the name of the metric and the factor that makes it a
            percentage.
        seconds: How long training and test take on two cores, for a first estimate of the time
            left.
    """

    name: str
    config: Path
    scores: Mapping[str, tuple[str, float]]
    seconds: float

    @property
    def work_dir(self) -> Path:
        """Folder of logs, checkpoints and predictions."""
        return WORK_DIR / self.name

    @property
    def predictions(self) -> Path:
        """File of the test's predictions."""
        return self.work_dir / 'predictions.pkl'


TASKS = (
    Task(
        'classify',
        Path('configs/demo/dwnet_nano_digits.py'),
        {'top1': ('accuracy/top1', 1)},
        seconds=130,
    ),
    Task(
        'detect',
        Path('configs/demo/cascade_mask_rcnn_dwnet_nano_digits.py'),
        {'bbox_mAP': ('coco/bbox_mAP', 100), 'segm_mAP': ('coco/segm_mAP', 100)},
        seconds=260,
    ),
    Task(
        'segment',
        Path('configs/demo/upernet_dwnet_nano_digits.py'),
        {'mIoU': ('mIoU', 1)},
        seconds=290,
    ),
)
TITLES = {'top1': 'top-1', 'bbox_mAP': 'box mAP', 'segm_mAP': 'mask mAP', 'mIoU': 'mIoU'}
