"""The demo from data to report; finished steps of an earlier run are reused."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from mmengine.config import Config

from demo.digit_scenes import DigitSceneOptions, make_digit_scenes
from mmdwnet.checkpoints.latest import find_latest
from mmdwnet.cli.checks import check_folder
from mmdwnet.errors import UserError

from .report import write_report
from .tasks import DATA, TASKS, TITLES, WORK_DIR, Task

# Validation during training has an ETA of its own, which says little.
_ETA = re.compile(r'\((?:train|test)\).* eta: (?:(\d+) days?, )?(\d+):(\d+):(\d+)')
_PRINT_EVERY = 10  # seconds between two lines of progress


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


def run_demo(options: DigitSceneOptions | None = None) -> dict[str, float]:
    """Make the data, train and test each task's model, write results and report.

    Args:
        options: Sizes and counts of the data; the defaults if None.

    Returns:
        The scores in percent, and the minutes it took, summed over all runs if it was interrupted.

    Raises:
        UserError: The work folder cannot be written, or a tool failed; the message names its log.
    """
    check_folder(WORK_DIR)
    progress = Progress()
    start = time.monotonic()
    make_digit_scenes(DATA, options, log=progress.say)
    seconds = time.monotonic() - start
    classify, *dense = TASKS
    states = [
        run_task(classify, _fingerprint(classify, _read(DATA / 'digit_scenes.json')), progress)
    ]
    # Python 3.11 cannot parse two configs at a time, so the threads read none.
    fingerprints = [_fingerprint(task, states[0]) for task in dense]
    # Both start from the classifier. For models this small, a second thread hardly helps.
    run_dense = partial(run_task, progress=progress, side_by_side=len(dense))
    with ThreadPoolExecutor() as pool:
        states += pool.map(run_dense, dense, fingerprints)
    seconds += states[0]['seconds'] + max(state['seconds'] for state in states[1:])
    results = {
        name: round(state['metrics'][metric] * factor, 1)
        for task, state in zip(TASKS, states, strict=True)
        for name, (metric, factor) in task.scores.items()
    }
    results['minutes'] = round(seconds / 60, 1)
    (WORK_DIR / 'results.json').write_text(json.dumps(results, indent=2) + '\n')
    report = write_report(results)
    print(_table(results))
    print(f'{WORK_DIR / "results.json"}, {report}')
    return results


@dataclass
class Progress:
    """Prints how far the demo is and how long it will still take.

    Attributes:
        waiting: Tasks that have not started.
        left: The seconds that each running task, by its name, will still take.
        last: Time of the last line about a tool's progress, in seconds of `time.monotonic()`.
    """

    waiting: list[Task] = field(default_factory=lambda: list(TASKS))
    left: dict[str, float] = field(default_factory=dict)
    last: float = 0.0

    def say(self, text: str) -> None:
        """Print a line and flush it, so that it appears at once even in a pipe."""
        print(text, flush=True)

    def follow(self, task: Task, tool: str, line: str) -> None:
        """Print a line of progress every few seconds, from a tool's log line that has an ETA."""
        match = _ETA.search(line)
        if match is None:
            return
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        self.left[task.name] = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
        if time.monotonic() - self.last < _PRINT_EVERY:
            return
        self.last = time.monotonic()
        # The tasks still to come run side by side.
        later = max((task.seconds for task in self.waiting), default=0)
        demo = _clock(max(self.left.values()) + later)
        self.say(
            f'{task.name}: {tool}: {_clock(self.left[task.name])} left; demo: about {demo} left'
        )


def run_task(task: Task, fingerprint: str, progress: Progress, side_by_side: int = 1) -> dict:
    """Train and test one task's model, or reuse the results of an earlier run.

    Args:
        task: The task.
        fingerprint: What the task depends on; it is run again if this changes.
        progress: Receives the tools' progress.
        side_by_side: How many tasks share the machine's cores.

    Returns:
        The task's state: its fingerprint, the seconds it took, and its metrics by name.

    Raises:
        UserError: A tool failed.
    """
    progress.waiting.remove(task)
    state = _read(_state_file(task)) if _state_file(task).exists() else {}
    if state.get('fingerprint') != fingerprint:
        shutil.rmtree(task.work_dir, ignore_errors=True)
        state = {'fingerprint': fingerprint, 'seconds': 0.0}
    if 'metrics' in state:
        progress.say(f'{task.name}: {task.work_dir} is there already; reused')
        return state
    _write(task, state)
    start = time.monotonic()
    environment = dict(os.environ)
    if side_by_side > 1:
        environment['OMP_NUM_THREADS'] = str(max(1, torch.get_num_threads() // side_by_side))
    try:
        run_tool = partial(_run_tool, task, progress, environment)
        run_tool('train', str(task.config), '--resume')
        checkpoint, _ = find_latest(str(task.work_dir))
        run_tool('test', str(task.config), str(checkpoint), '--out', str(task.predictions))
        state['metrics'] = _test_metrics(task)
    finally:
        state['seconds'] += time.monotonic() - start
        progress.left.pop(task.name, None)
        _write(task, state)
    return state


def _run_tool(
    task: Task, progress: Progress, environment: dict[str, str], tool: str, *arguments: str
) -> None:
    """Run tools/train.py or tools/test.py and write its output to a log file."""
    log = task.work_dir / f'{tool}.log'
    progress.say(f'{task.name}: {tool} ({log})')
    command = [sys.executable, f'tools/{tool}.py', *arguments, '--work-dir', str(task.work_dir)]
    with log.open('a', buffering=1) as file:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )
        assert process.stdout is not None  # for the type checker
        try:
            for line in process.stdout:
                file.write(line)
                progress.follow(task, tool, line)
        except KeyboardInterrupt:
            process.wait()  # the terminal sends it the signal as well
            raise
    if process.wait():
        tail = log.read_text().splitlines()[-1:]
        raise UserError(f'{" ".join(command)} failed; see {log}, which ends in: {"".join(tail)}')


def _fingerprint(task: Task, inputs: dict) -> str:
    """Digest a task's config and what else it depends on."""
    config = Config.fromfile(task.config).pretty_text
    inputs = {key: value for key, value in inputs.items() if key != 'seconds'}
    text = config + json.dumps(inputs, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _test_metrics(task: Task) -> dict[str, float]:
    """Read the metrics that the last test wrote beside its log."""
    files = sorted(task.work_dir.glob('*/[0-9]*.json'), key=lambda path: path.stat().st_mtime)
    return _read(files[-1])


def _state_file(task: Task) -> Path:
    return task.work_dir / 'state.json'


def _read(path: Path) -> dict:
    return json.loads(path.read_text())


def _write(task: Task, state: dict) -> None:
    task.work_dir.mkdir(parents=True, exist_ok=True)
    _state_file(task).write_text(json.dumps(state, indent=2))


def _clock(seconds: float) -> str:
    return f'{int(seconds) // 60}:{int(seconds) % 60:02}'


def _table(results: dict[str, float]) -> str:
    titles = [*TITLES.values(), 'minutes']
    values = [f'{results[key]:.1f}' for key in (*TITLES, 'minutes')]
    rows = [titles, values]
    return '\n'.join('  '.join(f'{cell:>8}' for cell in row) for row in rows)
