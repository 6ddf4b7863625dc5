"""The commands of the texts, run in order, on small data and for a short time."""

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from torch.distributed.elastic.utils.distributed import get_free_port

from ..apis.released import CLASSIFIER, DETECTOR, SEGMENTOR, write_release
from ..slurm import write_stand_ins
from .snippets import ROOT, make_checkout, snippets

# What is not run, and why. Its options are checked all the same (test_commands.py).
LEFT_OUT = {
    'changes the machine': r'apt-get',
    'is what continuous integration runs, in the environment that it makes': r'make |source',
    'needs the original packages': r'original',
    'needs a GPU': r'--device cuda',
}
if not find_spec('pytorch_grad_cam'):
    LEFT_OUT['needs grad-cam'] = r'cam\.py'
if not Path('/usr/share/openclipart').exists():
    LEFT_OUT["needs Debian's pictures"] = r'make_picture_sets|data/pictures'

# What is run instead. Where an option is given twice, the last one counts.
INSTEAD = {
    r'tools/finetune\.py .*': r'\g<0> --epochs 1',
    r'tools/study\.py.*': r'\g<0> --only static_w3 --seeds 1',
    r'make_digit_scenes\.py .*': 'make_digit_scenes.py small --cls-every 10 --train-scenes 9',
    r'benchmark\.py .*': r'\g<0> --rounds 1 --batch-size 2 --input-size 32',
    r'--compile-only .*': r'\g<0> --operators depthwise',
    r'-m pytest': r'\g<0> --collect-only --quiet',
    r'--kills \d+': '--kills 1 --tasks classify',
    r'--iterations 2000': '--iterations 200 --tasks classify',
    # Two processes instead of eight, and two machines that are both this one.
    r'(tools/dist_.*) 8\b': r'\1 2',
    r'MASTER_ADDR=\S+': 'MASTER_ADDR=127.0.0.1',
    r'.*NODE_RANK=0.*': r'\g<0> &',
    r'.*NODE_RANK=1.*': r'\g<0>\nwait $!',
    r'epoch_300': 'epoch_1',
    r'epoch_36|iter_160000': 'iter_1',
    # Files and folders that stand for any.
    r'\bWORK_DIR\b': 'work_dirs/any',
    r'\bCONFIG\b': 'configs/cls/dwnet_tiny.py',
    r'\bCHECKPOINT\b': 'dwnet://dwnet_tiny',
    r'\b(FILE|MODEL)\.onnx': 'any.onnx',
    r'\bIMAGES\b': 'photos',
}

# The configs for ImageNet, COCO and ADE20K, on digits.
ON_DIGITS = {
    'cls/dwnet_tiny': """
_base_ = '../../tests/data/digits/dwnet_nano_digits.py'
model = dict(backbone=dict(arch='tiny'), head=dict(in_channels=768, num_classes=1000))
train_cfg = dict(max_epochs=1)
""",
    'det/cascade_mask_rcnn_dwnet_tiny_3x_coco': """
_base_ = '../../tests/data/digits/cascade_mask_rcnn_dwnet_nano_digits.py'
model = dict(
    backbone=dict(arch='tiny', init_cfg=dict(checkpoint='dwnet://dwnet_tiny')),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
train_cfg = dict(max_iters=1)
""",
    'seg/upernet_dwnet_tiny_160k_ade20k': """
_base_ = '../../tests/data/digits/upernet_dwnet_nano_digits.py'
model = dict(
    backbone=dict(arch='tiny', init_cfg=dict(checkpoint='dwnet://dwnet_tiny')),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384),
)
train_cfg = dict(max_iters=1)
""",
}

PAGES = sorted({block.text for block in snippets('bash')})


def script_of(page: str) -> str:
    """The commands of a page, one in a line."""
    lines = []
    for block in snippets('bash'):
        if block.text == page:
            lines += re.sub(r' *#.*', '', block.code.replace('\\\n', ' ')).splitlines()
    script = '\n'.join(
        line for line in lines if not any(re.search(part, line) for part in LEFT_OUT.values())
    )
    for pattern, new in INSTEAD.items():
        script = re.sub(pattern, new, script)
    return script.replace('PORT=29500', f'PORT={get_free_port()}')


@pytest.fixture
def checkout(digits: Path, tmp_path: Path) -> Path:
    """A checkout with data, trained models and released weights."""
    folder = make_checkout(tmp_path, 'classify', 'detect', 'segment')
    (folder / 'configs').unlink()
    shutil.copytree(ROOT / 'configs', folder / 'configs')
    for name, text in ON_DIGITS.items():
        (folder / 'configs' / f'{name}.py').write_text(text)
    (folder / 'data' / 'digit_scenes').symlink_to(digits)
    for name in ('imagenet', 'coco', 'ade'):
        (folder / 'data' / name).symlink_to(digits / name)
    (folder / 'photos').symlink_to(digits / 'imagenet' / 'train')
    log = folder / 'work_dirs' / 'demo' / 'classify' / 'run' / '20300101_000000' / 'vis_data'
    log.mkdir(parents=True)
    (log / 'scalars.json').write_text(
        '{"lr": 0.1, "loss": 2.0, "epoch": 1, "iter": 1, "step": 1}\n'
    )
    for name in (CLASSIFIER, DETECTOR, SEGMENTOR):
        write_release(folder, name)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize('page', PAGES)
def test_commands_run(page: str, checkout: Path) -> None:
    for block in snippets('python'):
        if block.text == page and block.file:
            (checkout / block.file).write_text(block.code)
    commands = checkout / 'bin'
    write_stand_ins(commands)
    for name, call in {
        'python': f'{sys.executable} "$@"',
        # Resolves from what is installed, but changes nothing.
        'pip': f'{sys.executable} -m pip "$@" --dry-run --no-index --no-build-isolation',
    }.items():
        (commands / name).write_text(f'#!/bin/sh\nexec {call}\n')
        (commands / name).chmod(0o755)
    script = script_of(page)
    assert script.strip()  # something is run
    done = subprocess.run(
        ['bash', '-ex', '-c', script],
        cwd=checkout,
        env=os.environ
        | {
            'CUDA_VISIBLE_DEVICES': '',
            'DWNET_CHECKPOINT_DIR': str(checkout),
            'PATH': f'{commands}:{os.environ["PATH"]}',
            'PYTHONPATH': str(ROOT),
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
