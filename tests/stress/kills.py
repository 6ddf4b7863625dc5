"""Kill small trainings at random moments, resume them, and compare with undisturbed ones.

python tests/stress/kills.py --tasks classify detect segment --kills 20 --processes 1
"""

import argparse
import os
import random
import shutil
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from demo.digit_scenes import DigitSceneOptions, make_digit_scenes  # noqa: E402

OPTIONS = DigitSceneOptions(
    cls_train_per_digit=1, cls_val_per_digit=1, train_scenes=32, val_scenes=4
)
CONFIGS = {
    'classify': ROOT / 'tests/data/digits/dwnet_nano_digits.py',
    'detect': ROOT / 'tests/data/digits/cascade_mask_rcnn_dwnet_nano_digits.py',
    'segment': ROOT / 'tests/data/digits/upernet_dwnet_nano_digits.py',
}
ITERATIONS = 18
LONGEST = 600  # seconds, of an undisturbed training
SHARED = [
    'default_hooks.checkpoint.by_epoch=False',
    'default_hooks.checkpoint.interval=3',
    'default_hooks.checkpoint.max_keep_ckpts=2',
    'default_hooks.logger.interval=1',
    'train_dataloader.batch_size=2',
    'model.backbone.drop_path_rate=0.3',
]
OWN = {
    # Three epochs of 6 iterations in one process.
    'classify': [
        'train_cfg.max_epochs=3',
        'train_dataloader.dataset.indices={images}',
        'val_dataloader.dataset.indices=4',
    ],
    'detect': [f'train_cfg.max_iters={ITERATIONS}', 'train_cfg.val_interval=7'],
    'segment': [f'train_cfg.max_iters={ITERATIONS}', 'train_cfg.val_interval=7'],
}


class Training:
    """A training of a nano model on digit scenes.

    Args:
        task: Its name.
        work_dir: Its folder.
        workers: DataLoader workers of each process.
        processes: How many processes train together.
    """

    def __init__(self, task: str, work_dir: Path, workers: int, processes: int) -> None:
        own = [option.format(images=12 * processes) for option in OWN[task]]
        if task != 'classify':
            own.append('model.backbone.init_cfg=None')
        self.config = str(CONFIGS[task])
        self.work_dir, self.processes = work_dir, processes
        self.options = [
            *SHARED,
            *own,
            f'train_dataloader.num_workers={workers}',
            f'train_dataloader.persistent_workers={workers > 0}',
            'val_dataloader.num_workers=0',
            'val_dataloader.persistent_workers=False',
        ]

    def start(self, *args: str) -> list[int]:
        """Start the processes; return their numbers."""
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            port = str(free.getsockname()[1])
        self.work_dir.mkdir(parents=True, exist_ok=True)
        return [self._fork(rank, port, args) for rank in range(self.processes)]

    def _fork(self, rank: int, port: str, args: tuple[str, ...]) -> int:
        child = os.fork()  # which saves the time that imports take
        if child:
            return child
        code = 1
        try:
            os.setsid()
            log = os.open(self.work_dir / 'output.log', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            launcher = []
            if self.processes > 1:
                launcher = ['--launcher', 'pytorch']
                os.environ |= dict(
                    RANK=str(rank),
                    LOCAL_RANK=str(rank),
                    WORLD_SIZE=str(self.processes),
                    LOCAL_WORLD_SIZE=str(self.processes),
                    MASTER_ADDR='127.0.0.1',
                    MASTER_PORT=port,
                )
            from mmdwnet.cli import train

            code = train.main(
                [
                    self.config,
                    *args,
                    *launcher,
                    '--work-dir',
                    str(self.work_dir),
                    '--cfg-options',
                    *self.options,
                ]
            )
        except SystemExit as end:
            code = end.code
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def result(self) -> list[dict]:
        """Return weights and optimizer state of the last checkpoint."""
        path = self.work_dir / (self.work_dir / 'last_checkpoint').read_text()
        checkpoint = torch.load(path, weights_only=False)
        assert checkpoint['meta']['iter'] == ITERATIONS, checkpoint['meta']['iter']
        return [checkpoint['state_dict'], checkpoint['optimizer']['state']]


def wait(children: list[int], seconds: float) -> bool:
    """Wait for processes to end; return whether they did, without an error."""
    end, left = time.monotonic() + seconds, set(children)
    while left and time.monotonic() < end:
        for child in list(left):
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                left.remove(child)
                if status != 0:
                    raise RuntimeError(f'process {child} ended with status {status}')
        time.sleep(0.02)
    return not left


def kill(children: list[int]) -> None:
    """Kill processes and their workers."""
    for child in children:
        with suppress(ProcessLookupError, ChildProcessError):  # if it has ended
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)


def harm(task: str, folder: Path, kills: int, processes: int, workers: list[int], seed: int) -> int:
    """Kill and resume trainings until there were enough kills; return how many runs ended."""
    draw = random.Random(seed)
    whole = Training(task, folder / 'whole', workers[0], processes)
    began = time.monotonic()
    assert wait(whole.start(), LONGEST), 'the undisturbed training does not end'
    duration, expected = time.monotonic() - began, whole.result()
    print(f'{task}, {processes} process(es): {duration:.0f} s undisturbed', flush=True)
    ended, done = 0, 0
    while done < kills or ended == 0 or (folder / 'cut').exists():
        training = Training(task, folder / 'cut', draw.choice(workers), processes)
        children = training.start('--resume')
        if not wait(children, draw.uniform(0.2, 1) * duration if done < kills else LONGEST):
            kill(children)
            done += 1
            continue
        torch.testing.assert_close(training.result(), expected, rtol=0, atol=0)
        output = (training.work_dir / 'output.log').read_text()
        ended += 1
        print(
            f'{task}, {processes} process(es): {done} kills, run {ended} ended bit-equal; passed '
            f'over {output.count("passed over")} checkpoints',
            flush=True,
        )
        shutil.rmtree(training.work_dir)
    return ended


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--tasks', nargs='+', default=list(CONFIGS))
    parser.add_argument('--kills', type=int, default=20, help='of each task')
    parser.add_argument('--processes', type=int, default=1)
    parser.add_argument('--workers', type=int, nargs='+', default=[0, 2], help='chosen at random')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--folder', type=Path, default=Path('work_dirs/kills'))
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    os.chdir(args.folder)
    make_digit_scenes(Path('data/digit_scenes'), OPTIONS, log=lambda _: None)
    for task in args.tasks:
        folder = Path(f'{task}_{args.processes}').resolve()
        shutil.rmtree(folder, ignore_errors=True)
        harm(task, folder, args.kills, args.processes, args.workers, args.seed)


if __name__ == '__main__':
    main()
