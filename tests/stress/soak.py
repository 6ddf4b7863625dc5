"""Train for long, and see that neither memory nor open files grow.

python tests/stress/soak.py --tasks classify detect segment --iterations 2000
"""

import argparse
import gc
import os
import shutil
import statistics
import sys
from pathlib import Path
from typing import ClassVar

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from kills import CONFIGS  # noqa: E402
from mmengine.hooks import Hook  # noqa: E402
from mmengine.registry import HOOKS  # noqa: E402

from demo.digit_scenes import DigitSceneOptions, make_digit_scenes  # noqa: E402
from mmdwnet.cli import train  # noqa: E402

OPTIONS = DigitSceneOptions(
    cls_train_per_digit=4,
    cls_val_per_digit=1,
    scene_size=96,
    train_scenes=32,
    val_scenes=4,
    min_digit_size=30,
    max_digit_size=60,
)
MOST_GROWTH = 0.02  # of the memory in the last half
EVERY = 20  # iterations


@HOOKS.register_module()
class Measure(Hook):
    """Notes resident memory, in MiB, and the number of open files."""

    notes: ClassVar[list[tuple[float, int]]] = []

    def after_train_iter(self, runner: object, *_: object, **__: object) -> None:
        if self.every_n_train_iters(runner, EVERY):
            gc.collect()
            pages = int(Path('/proc/self/statm').read_text().split()[1])
            size = pages * os.sysconf('SC_PAGE_SIZE') / 2**20
            self.notes.append((size, len(os.listdir('/proc/self/fd'))))


def soak(task: str, iterations: int, workers: int) -> tuple[float, int]:
    """Train; return the growth in the last half, of memory as a share, and of open files."""
    Measure.notes.clear()
    work_dir = Path(f'soak_{task}').resolve()
    shutil.rmtree(work_dir, ignore_errors=True)
    changes = [
        'train_dataloader.batch_size=2',
        f'train_dataloader.num_workers={workers}',
        f'train_dataloader.persistent_workers={workers > 0}',
        'val_dataloader.num_workers=0',
        'val_dataloader.persistent_workers=False',
        'default_hooks.checkpoint.max_keep_ckpts=1',
    ]
    if task == 'classify':
        changes += [f'train_cfg.max_epochs={-(-iterations // 20)}', 'train_cfg.val_interval=10']
        changes += ['default_hooks.checkpoint.interval=5', 'train_dataloader.dataset.indices=40']
        changes += ['val_dataloader.dataset.indices=10']
    else:
        changes += [f'train_cfg.max_iters={iterations}', 'train_cfg.val_interval=200']
        changes += ['default_hooks.checkpoint.interval=100', 'model.backbone.init_cfg=None']
    config = Path(f'soak_{task}.py')
    config.write_text(f"_base_ = {str(CONFIGS[task])!r}\ncustom_hooks = [dict(type='Measure')]\n")
    code = train.main([str(config), '--work-dir', str(work_dir), '--cfg-options', *changes])
    assert code == 0, f'{task} ended with {code}'
    half = Measure.notes[len(Measure.notes) // 2 :]
    # Of the trend, as the memory of single steps varies by several percent in detection.
    sizes = [size for size, _ in half]
    slope, start = statistics.linear_regression(range(len(half)), sizes)
    growth = slope * len(half) / start
    # The least, as a worker's batch that comes before its turn keeps files open until then.
    quarters = half[: len(half) // 2], half[len(half) // 2 :]
    files = [min(count for _, count in quarter) for quarter in quarters]
    print(
        f'{task}: from {min(sizes):.1f} to {max(sizes):.1f} MiB in the last half, growing by '
        f'{growth:+.2%}; open files {files[0]} and {files[1]}',
        flush=True,
    )
    return growth, files[1] - files[0]


def main() -> int:
    """Run the command line; return 1 if something grew."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--tasks', nargs='+', default=[*CONFIGS])
    parser.add_argument('--iterations', type=int, default=2000)
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--folder', type=Path, default=Path('work_dirs/soak'))
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    os.chdir(args.folder)
    make_digit_scenes(Path('data/digit_scenes'), OPTIONS, log=lambda _: None)
    grown = [soak(task, args.iterations, args.workers) for task in args.tasks]
    return int(any(memory >= MOST_GROWTH or files > 0 for memory, files in grown))


if __name__ == '__main__':
    sys.exit(main())
