"""The commands of the texts, run in order on small data."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from .snippets import ROOT, make_checkout, snippets

# What is not run, as it needs what tests do not have. Its options are checked all the same.
LEFT_OUT = {
    'changes the machine or the environment': ('apt-get', 'pip', 'make', 'source'),
    'needs Slurm': ('sbatch', 'slurm_'),
    'needs eight GPUs (see tests/tools)': ('dist_',),
    'needs ImageNet or the released weights': ('configs/cls/',),
    "needs Debian's pictures": ('make_picture_sets', 'data/pictures'),
    'is made smaller': ('make_digit_scenes',),
    'takes long': ('benchmark.py', 'tests/stress', 'pytest'),
}
# The other texts name files that stand for any.
PAGES = (
    'README.md',
    'docs/finetune.md',
    'docs/start.md',
    'docs/training.md',
    'docs/visualization.md',
)


def is_left_out(words: list[str]) -> bool:
    if 'tools/visualization/cam.py' in words and not find_spec('pytorch_grad_cam'):
        return True  # no other command needs it
    return any(part in ' '.join(words) for parts in LEFT_OUT.values() for part in parts)


@pytest.mark.slow
@pytest.mark.parametrize('page', PAGES)
def test_commands_run(page: str, digits: Path, tmp_path: Path) -> None:
    folder = make_checkout(tmp_path, 'classify', 'detect', 'segment')
    (folder / 'data' / 'digit_scenes').symlink_to(digits)
    (folder / 'photos').symlink_to(digits / 'imagenet' / 'train')
    log = folder / 'work_dirs' / 'demo' / 'classify' / 'run' / '20300101_000000' / 'vis_data'
    log.mkdir(parents=True)
    (log / 'scalars.json').write_text(
        '{"lr": 0.1, "loss": 2.0, "epoch": 1, "iter": 1, "step": 1}\n'
    )
    for block in snippets('python'):
        if block.text == page and block.file:
            (folder / block.file).write_text(block.code)
    (folder / 'bin').mkdir()
    (folder / 'bin' / 'python').write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (folder / 'bin' / 'python').chmod(0o755)
    environment = os.environ | {
        'CUDA_VISIBLE_DEVICES': '',
        'PATH': f'{folder / "bin"}:{os.environ["PATH"]}',
        'PYTHONPATH': str(ROOT),
    }
    ran = 0
    for block in snippets('bash'):
        if block.text != page:
            continue
        for line in block.code.replace('\\\n', ' ').splitlines():
            words = line.split('#')[0].split()
            if not words or is_left_out(words):
                continue
            if 'tools/finetune.py' in words and '--epochs' not in words:
                words += ['--epochs', '1']
            done = subprocess.run(
                ['bash', '-c', ' '.join(words)],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, ' '.join(words) + done.stdout + done.stderr
            ran += 1
    assert ran
