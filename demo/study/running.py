"""Train each config of configs/study with each seed; what an earlier run finished is kept."""

import copy
import os
import re
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from mmengine.config import Config

from mmdwnet.cli import train
from mmdwnet.engine import stopping
from mmdwnet.errors import UserError
from mmdwnet.finetuning.curves import read_logs

ROOT = Path(__file__).resolve().parents[2]
_CONFIGS = ROOT / 'configs/study'


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        variant: Name of the config in configs/study.
        seed: Its seed.
        out: Folder of the study.
        cfg: What it trains with.
    """

    variant: str
    seed: int
    out: Path
    cfg: Config

    @property
    def config(self) -> Path:
        """Return the config file, which tools/train.py takes as well."""
        return self.out / self.variant / f'seed{self.seed}.py'

    @property
    def work_dir(self) -> Path:
        """Return the folder of its logs and checkpoints."""
        return self.config.with_suffix('')

    @property
    def log(self) -> Path:
        """Return the file of what it prints."""
        return self.config.with_suffix('.log')

    @property
    def top1(self) -> float | None:
        """Return the accuracy after the last epoch in percent, or None before that."""
        _, scores = read_logs(self.work_dir)
        return scores.get('accuracy/top1', {}).get(self.cfg.train_cfg.max_epochs)


def variants() -> list[str]:
    """Return the names of all configs, 9 before 11."""
    names = [path.stem for path in _CONFIGS.glob('*.py')]
    return sorted(names, key=lambda name: [part.zfill(2) for part in re.split(r'(\d+)', name)])


def plan(names: Sequence[str], seeds: int, out: Path, data_root: Path | None) -> list[Run]:
    """Return all runs: all variants with one seed before the next seed.

    Args:
        names: Of the variants.
        seeds: How many seeds, from 0 on.
        out: Folder of the study.
        data_root: The pictures; None for the tiny models on ImageNet.
    """
    cfgs = {name: Config.fromfile(_CONFIGS / f'{name}.py') for name in names}
    runs = []
    for seed in range(seeds):
        for name in names:
            cfg = copy.deepcopy(cfgs[name])
            if data_root is None:
                cfg = as_tiny(cfg)
            else:
                for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
                    cfg[loader].dataset.data_root = str(data_root)
            cfg.randomness = dict(seed=seed)
            run = Run(name, seed, out, cfg)
            cfg.work_dir = str(run.work_dir)
            runs.append(run)
    return runs


def as_tiny(cfg: Config) -> Config:
    """Return the config of the tiny model with the same mixer, on ImageNet, by the paper's recipe.

    Args:
        cfg: Config of the study.
    """
    tiny = Config.fromfile(ROOT / 'configs/cls/dwnet_tiny.py')
    cfg.merge_from_dict(cfg.tiny)
    tiny.custom_imports = cfg.custom_imports
    tiny.model.backbone = cfg.model.backbone
    tiny.optim_wrapper.paramwise_cfg = cfg.optim_wrapper.paramwise_cfg
    tiny.study = cfg.study
    tiny.auto_scale_lr.enable = True
    return tiny


def train_all(runs: Sequence[Run], processes: int = 1) -> list[Run]:
    """Train what is not trained yet, and tell how long it will take.

    Args:
        runs: From `plan`.
        processes: Processes, one for each GPU, that share each training.

    Returns:
        Runs that failed.

    Raises:
        UserError: The first training cannot begin, or its results are those of other settings.
        Stopped: The study was told to stop; the next one goes on.
    """
    for run in runs:
        _check_config(run)
    todo = [run for run in runs if run.top1 is None]
    print(f'{len(runs) - len(todo)} of {len(runs)} runs are finished', flush=True)
    if todo:  # what is wrong with all of them ends the study
        _write_config(todo[0])
        with _logged(todo[0]):
            train.train(train.parse_args([str(todo[0].config), '--check']))
    failed = []
    spent: dict[str, float] = {}  # seconds of the last whole run of each variant
    for number, run in enumerate(todo, 1):
        resumed = run.work_dir.exists()
        start = time.monotonic()
        _write_config(run)
        with _logged(run):
            try:
                _train(run, processes)
            except Exception:  # a fault in one run must not cost the others
                traceback.print_exc()
        seconds = time.monotonic() - start
        if run.top1 is None:
            failed.append(run)
            result = f'failed, see {run.log}'
        else:
            result = f'top-1 {run.top1:.2f}'
            if not resumed:
                spent[run.variant] = seconds
        print(
            f'[{number}/{len(todo)}] {run.variant}, seed {run.seed}: {result} ({seconds:.0f} s'
            f'{_time_left(spent, todo[number:])})',
            flush=True,
        )
    return failed


def _time_left(spent: dict[str, float], runs: Sequence[Run]) -> str:
    """Return how long runs will take, as far as that is known by the time that others took."""
    if not spent:
        return ''
    typical = mean(spent.values())
    return f'; {sum(spent.get(run.variant, typical) for run in runs) / 60:.0f} minutes left'


def _check_config(run: Run) -> None:
    """Check that earlier results of a run are those of the same settings.

    Raises:
        UserError: They are not.
    """
    if run.config.exists() and Config.fromfile(run.config).to_dict() != run.cfg.to_dict():
        raise UserError(
            f'{run.config} is of a study with other settings or pictures: remove {run.out}, or '
            'give another --out'
        )


def _write_config(run: Run) -> None:
    if not run.config.exists():
        run.config.parent.mkdir(parents=True, exist_ok=True)
        half = run.config.with_suffix('.half')
        half.write_text(run.cfg.pretty_text)
        half.rename(run.config)


@contextmanager
def _logged(run: Run) -> Iterator[None]:
    """Have everything printed into the log of a run."""
    with (
        run.log.open('a', buffering=1) as log,
        redirect_stdout(log),
        redirect_stderr(log),
    ):
        yield


def _train(run: Run, processes: int) -> None:
    if processes == 1:
        train.train(train.parse_args([str(run.config), '--resume']))
        return
    process = subprocess.Popen(
        [str(ROOT / 'tools/dist_train.sh'), str(run.config), str(processes), '--resume'],
        stdout=sys.stdout,
        stderr=sys.stderr,
        env={**os.environ, 'PYTHON': sys.executable},
    )
    try:
        code = process.wait()
    except BaseException:
        process.terminate()  # the script has all processes save where they are
        process.wait()
        raise
    if code == stopping.EXIT_CODE:
        raise stopping.Stopped
    if code:
        raise UserError(f'tools/dist_train.sh ended with exit code {code}')
