"""Hostile checkpoints through every command: exit code 2 and a sentence, or no harm."""

import contextlib
import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from mmengine.config import Config

from mmdwnet.apis import hub, inferencers
from mmdwnet.apis.building import build_model
from mmdwnet.cli import convert, test, train
from mmdwnet.errors import UserError

from ..bounds import in_child
from ..checkpoints import authors, hostile, payloads

WAYS = ('resume', 'load_from', 'init_cfg', 'test', 'convert', 'inferencer')
# Ways to use a file all the same: by what is in it besides.
USED = {'call': {'convert'}, 'fill': {'convert'}, 'resumed': {*WAYS} - {'resume'}}
HARMLESS = {
    'opcodes: complex number of text',
    'file: a pickle in capitals',
    'resumed: a program in the config',
    'resumed: gradients that are text',
}
# For every run of the tests; the rest is slow.
SAMPLE = [
    ('call: eval', 'resume'),
    ('fill: modules', 'test'),
    ('opcodes: a key that takes forever to hash', 'load_from'),
    ('opcodes: a tensor that repeats a number, converted', 'convert'),
    ('weights: meta tensors', 'init_cfg'),
    ('weights: numbers for keys', 'inferencer'),
    ('resumed: a program in the config', 'resume'),
    ('resumed: a seed that is text', 'resume'),
    ('resumed: text for the optimizer', 'resume'),
    ('resumed: text for the message hub', 'resume'),
    ('safetensors: a header of 2**63 bytes', 'test'),
    ('file: a bomb behind other contents of a large archive', 'resume'),
]


def refused(kind: str, way: str) -> bool:
    """Return whether a command cannot use a file."""
    return kind not in HARMLESS and way not in USED.get(kind.partition(':')[0], ())


CASES = [
    pytest.param(kind, way, marks=() if (kind, way) in SAMPLE else pytest.mark.slow)
    for kind in hostile.KINDS
    for way in WAYS
    # Under a name that mmpretrain does not have, its inferencer would not go on.
    if way != 'inferencer' or refused(kind, way)
]


@pytest.fixture
def checkpoint(config: str) -> dict:
    """What an honest checkpoint of the demo's classifier has in it."""
    model = build_model(Config.fromfile(config))
    return dict(
        meta=dict(epoch=1, iter=2, seed=0),
        state_dict=model.state_dict(),
        message_hub=dict(log_scalars={}, runtime_info={}, resumed_keys={}),
        optimizer=dict(state={}, param_groups=[]),
    )


@pytest.fixture
def run(config: str, options: list[str], tmp_path: Path, monkeypatch) -> Callable[[str, str], int]:
    """Runs a command on a file; returns its exit code."""
    monkeypatch.setattr(inferencers, 'find_model', lambda _: hub.Model(Path(config), None))
    shared = ['--work-dir', str(tmp_path / 'work'), '--cfg-options', *options]

    def run(way: str, file: str) -> int:
        if way == 'resume':
            return train.main([config, '--resume', file, *shared, 'train_cfg.max_epochs=2'])
        if way == 'load_from':
            return train.main([config, *shared, f'load_from={file}'])
        if way == 'init_cfg':
            pretrained = dict(type='Pretrained', checkpoint=file, prefix='backbone.')
            changes = [f'model.backbone.init_cfg.{key}={v}' for key, v in pretrained.items()]
            return train.main([config, *shared, *changes])
        if way == 'test':
            return test.main([config, file, *shared])
        if way == 'convert':
            return convert.main([file, str(tmp_path / 'made.pth'), '--reverse'])
        try:
            inferencers.inferencer('demo', file, 'cpu')
        except UserError as error:
            print(error, file=sys.stderr)
            return 2
        return 0

    return run


@pytest.mark.parametrize(('kind', 'way'), CASES)
def test_hostile_files(kind: str, way: str, run, checkpoint: dict, tmp_path: Path) -> None:
    trace = tmp_path / 'trace'
    path = hostile.write(kind, tmp_path, checkpoint, trace)

    def call() -> tuple[int, str]:
        with (
            payloads.harm() as harmed,
            authors.extension(),
            contextlib.redirect_stderr(io.StringIO()) as stderr,
        ):
            code = run(way, str(path))
        assert not harmed
        return code, stderr.getvalue()

    outcome = in_child(call)
    assert not trace.exists()
    assert outcome.bytes < 2**30, outcome
    assert isinstance(outcome.said, list), outcome
    code, stderr = outcome.said
    if refused(kind, way):
        assert code == 2 and path.name in stderr.strip().splitlines()[-1], stderr
    else:
        assert code in (0, 2), stderr
