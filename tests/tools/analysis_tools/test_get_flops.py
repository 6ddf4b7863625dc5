import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CONFIG = ROOT / 'tests' / 'data' / 'digits' / 'dwnet_nano_digits.py'


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Callable[..., str]:
    """Run the command; return its output, or the error message for bad input."""

    def command(*args: object, code: int = 0) -> str:
        monkeypatch.setattr(sys, 'argv', ['get_flops.py', *map(str, args)])
        with pytest.raises(SystemExit) as exit_:
            runpy.run_path(str(ROOT / 'tools/analysis_tools/get_flops.py'), run_name='__main__')
        assert exit_.value.code == code
        captured = capsys.readouterr()
        return captured.err if code else captured.out

    return command


def test_whole_model(run) -> None:
    *_, title, header, total = run(CONFIG, '--shape', 64, 64).splitlines()
    assert title == f'{CONFIG}, for one image of 64 x 64 pixels (height x width)'
    assert header.split() == ['module', 'parameters', 'multiply-adds']
    assert total.split() == ['ImageClassifier', '1,251,082', '0.016', 'G']


def test_by_module(run) -> None:
    lines = run(CONFIG, '--depth', 2).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith('ImageClassifier'))
    names = [line.split()[0] for line in lines[start:]]
    assert names == [
        *('ImageClassifier', 'backbone', 'patch_embed', 'layers', 'norm', 'head', 'fc')
    ]
    assert lines[-1].startswith('    fc')
    assert lines[-1].split()[1] == '2,570'
    assert len({len(line) for line in lines[start:]}) == 1


def test_by_module_goes_to_stages(run) -> None:
    lines = run('--by-module', CONFIG).splitlines()
    assert [line.split()[0] for line in lines if line.startswith('      ')] == [
        *('proj', 'norm', '0', '1', '2', '3')
    ]


def test_changes_to_the_config(run) -> None:
    output = run(CONFIG, '--cfg-options', 'model.head.num_classes=20')
    assert '1,253,652' in output  # 10 x (256 + 1) more


@pytest.mark.parametrize(
    ('args', 'said'),
    [
        (('nothing.py',), 'no config at nothing.py'),
        ((CONFIG, '--shape', 0, 64), 'there are no images of 0 x 64 pixels'),
        ((CONFIG, '--depth', -1), '--depth -1: give 0'),
        ((CONFIG, '--cfg-options', 'default_scope=mmpose'), "has default_scope='mmpose'"),
        ((CONFIG, '--cfg-options', 'model.backbone.type=None'), 'cannot be built'),
        ((ROOT / 'configs/_base_/datasets/imagenet.py', '--shape', 4, 4), 'default_scope=None'),
    ],
)
def test_bad_input_is_told_in_a_sentence(run, args: tuple, said: str) -> None:
    told = run(*args, code=2).strip()
    assert said in told
    assert '\n' not in told
