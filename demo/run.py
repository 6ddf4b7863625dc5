"""The demo: digit scenes, and a model of each task from them; an interrupted run goes on."""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import torch

from demo.digit_scenes import DigitSceneOptions, make_digit_scenes
from mmdwnet.checkpoints.latest import find_best
from mmdwnet.cli.checks import check_folder
from mmdwnet.errors import UserError
from mmdwnet.finetuning.models import NANO

from .tasks import DATA, TASKS, TITLES, WORK_DIR, Task


def main() -> int:
    """Run the demo in the current folder, which must be a checkout.

    Returns:
        The exit code: 0, 2 on bad input or where a tool failed, or 130 if interrupted.
    """
    try:
        run_demo()
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('interrupted; the next run continues from here', file=sys.stderr)
        return 130
    return 0


def run_demo(options: DigitSceneOptions | None = None, *more: str) -> dict[str, float]:
    """Make the data, fine-tune a nano model for each task, and write the scores.

    Args:
        options: Sizes and counts of the data; the defaults if None.
        *more: More arguments for tools/finetune.py.

    Returns:
        The scores in percent, and the minutes it took, summed over all runs.

    Raises:
        UserError: The work folder cannot be written, or a tool failed.
    """
    check_folder(WORK_DIR)
    start = time.monotonic()
    spent = WORK_DIR / 'minutes.json'
    before = json.loads(spent.read_text()) if spent.is_file() else 0.0
    try:
        make_digit_scenes(DATA, options, log=lambda text: print(text, flush=True))
        classify, *dense = TASKS
        _finetune(classify, *more)
        best, _ = find_best(classify.out / 'run')
        weights = ('--weights', str(best))
        # Side by side, as a second thread hardly helps models this small.
        with ThreadPoolExecutor() as pool:
            runs = [
                pool.submit(_finetune, task, *weights, *more, side_by_side=len(dense))
                for task in dense
            ]
        for run in runs:
            run.result()
    finally:
        minutes = before + (time.monotonic() - start) / 60
        WORK_DIR.mkdir(parents=True, exist_ok=True)
        spent.write_text(json.dumps(minutes))
    results = {'minutes': round(minutes, 1)}
    for task in TASKS:
        metrics = json.loads((task.out / 'results.json').read_text())
        results |= {
            name: round(metrics[metric] * factor, 1)
            for name, (metric, factor) in task.scores.items()
        }
    (WORK_DIR / 'results.json').write_text(json.dumps(results, indent=2) + '\n')
    print(_table(results))
    print(', '.join(str(task.out / 'report.html') for task in TASKS))
    return results


def _finetune(task: Task, *arguments: str, side_by_side: int = 1) -> None:
    """Run tools/finetune.py, with the task's name before each line that it prints."""
    threads = str(max(1, torch.get_num_threads() // side_by_side))
    command = [sys.executable, 'tools/finetune.py', task.name, str(task.data)]
    command += ['--model', NANO[task.name], '--out', str(task.out), *arguments]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, 'OMP_NUM_THREADS': threads},
    )
    assert process.stdout is not None  # for the type checker
    try:
        for line in process.stdout:
            print(f'{task.name}: {line}', end='', flush=True)
    except KeyboardInterrupt:
        process.wait()  # the terminal sends it the signal as well
        raise
    if process.wait():
        raise UserError(f'{" ".join(command)} failed; see above')


def _table(results: dict[str, float]) -> str:
    titles = {**TITLES, 'minutes': 'minutes'}
    rows = [titles.values(), [f'{results[key]:.1f}' for key in titles]]
    return '\n'.join('  '.join(f'{cell:>8}' for cell in row) for row in rows)
