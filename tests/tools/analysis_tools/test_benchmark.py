import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from benchmarking import model_steps  # noqa: F401  # its imports may log to stderr
from benchmarking.operator_steps import OPERATORS, Size, prepare

ROOT = Path(__file__).parents[3]
NANO = str(ROOT / 'tests' / 'data' / 'digits' / 'dwnet_nano_digits.py')
ONE_EACH = {'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''}
TINY = ('--batch-size', 2, '--input-size', 32, '--rounds', 2)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Callable[..., str]:
    """Run the command; return its output, or the error message for bad input."""

    def command(*args: object, code: int = 0) -> str:
        monkeypatch.setattr(sys, 'argv', ['benchmark.py', *map(str, args)])
        with pytest.raises(SystemExit) as exit_:
            runpy.run_path(str(ROOT / 'tools/analysis_tools/benchmark.py'), run_name='__main__')
        captured = capsys.readouterr()
        assert exit_.value.code == code, captured.err
        return captured.err if code else captured.out

    return command


def figures(file: Path) -> dict[str, dict]:
    (rows,) = json.loads(file.read_text())['tables'].values()
    return {row['name']: row for row in rows}


def test_training_of_our_models_and_timms(run, tmp_path: Path) -> None:
    file = tmp_path / 'figures.json'
    names = [NANO, f'{NANO}_nchw:bfloat16', f'{NANO}:checkpointed', 'resnet18']
    output = run('--models', *names, '--mode', 'train', *TINY, '--json', file)
    rows = figures(file)
    assert list(rows) == names
    for name, row in rows.items():
        assert row['images/s'] == pytest.approx(2 / row['ms'] * 1e3)
        assert row[f'speed / {NANO}'] == pytest.approx(rows[NANO]['ms'] / row['ms'])
        assert f'| {name} ' in output
    assert rows[f'{NANO}_nchw:bfloat16']['dtype'] == 'bfloat16'
    assert rows[f'{NANO}:checkpointed']['saved MiB'] < rows[NANO]['saved MiB'] / 2
    machine = json.loads(file.read_text())['machine']
    assert machine['threads'] == torch.get_num_threads()


def test_inference_against_a_named_baseline(run, tmp_path: Path) -> None:
    file = tmp_path / 'figures.json'
    names = [NANO, f'{NANO}:fused', 'resnet18', 'vit_tiny_patch16_224']
    run('--models', *names, *TINY, '--dtype', 'bfloat16', '--baseline', 'resnet18', '--json', file)
    rows = figures(file)
    assert rows['resnet18']['speed / resnet18'] == 1
    assert not any('saved MiB' in row for row in rows.values())


def test_bytes_of_a_training_step(run, tmp_path: Path) -> None:
    file = tmp_path / 'figures.json'
    names = [NANO, f'{NANO}:bfloat16']
    # In smaller batches, the conversion of the weights costs more than it saves.
    larger = (*TINY, '--batch-size', '8', '--input-size', '96')
    run('--models', *names, '--mode', 'train', '--bytes', *larger, '--json', file)
    full, half = (figures(file)[name]['MiB / image'] for name in names)
    assert half < full


@pytest.mark.slow
@pytest.mark.usefixtures('cpp_compiler')
def test_compiled_inference(run, tmp_path: Path) -> None:
    file = tmp_path / 'figures.json'
    run('--models', f'{NANO}:fused+compiled:bfloat16', *TINY, '--json', file)
    (row,) = figures(file).values()
    assert (row['variant'], row['dtype']) == ('compiled+fused', 'bfloat16')


@pytest.mark.slow
def test_several_processes_add_up(tmp_path: Path) -> None:
    file = tmp_path / 'figures.json'
    tool = ROOT / 'tools' / 'analysis_tools' / 'benchmark.py'
    launch = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node=2']
    options = ['--launcher', 'pytorch', '--mode', 'train', '--models', NANO, *TINY, '--json', file]
    subprocess.run([*launch, tool, *map(str, options)], check=True, env={**os.environ, **ONE_EACH})
    row = figures(file)[NANO]
    assert row['images/s'] == pytest.approx(2 * 2 / row['ms'] * 1e3)
    assert json.loads(file.read_text())['machine']['processes'] == 2


@pytest.mark.parametrize('mode', ['infer', 'train'])
def test_operators(run, tmp_path: Path, mode: str) -> None:
    file = tmp_path / 'figures.json'
    options = ('--channels', 32, '--batch-size', 1, '--input-size', 8, '--rounds', 1)
    run('--operators', 'inhomogeneous', '--mode', mode, *options, '--json', file)
    rows = figures(file)
    assert list(rows) == list(OPERATORS['inhomogeneous'].ways)
    x, weight = 32 * 8 * 8 * 4, 32 * 49 * 8 * 8 * 4
    moved = 2 * x + weight if mode == 'infer' else 5 * x + 3 * weight
    for row in rows.values():
        assert row['GB/s'] == pytest.approx(moved / row['ms'] / 1e6)
        assert row['% of a copy'] > 0
        assert row['peak MiB'] > 0


def test_operators_compiled_for_a_gpu_that_is_absent(run, tmp_path: Path) -> None:
    pytest.importorskip('triton', reason='Triton has no package for this platform')
    file = tmp_path / 'figures.json'
    options = ('--operators', 'inhomogeneous', '--batch-size', 1, '--input-size', 8)
    assert 'H100' in run(*options, '--compile-only', '9.0', '--json', file)
    rows = figures(file)
    assert len(rows) == 3
    for name, row in rows.items():
        assert name.startswith('inhomogeneous')
        assert 0 < row['registers'] < 256
        moved = (2 * 96 + 32 * 49) * 8 * 8 * 4  # x, the weight, and the output or its gradient
        assert row['us by bytes'] == pytest.approx(moved / 3350e3, rel=0.01)
        assert row['us by instructions'] > 0


@pytest.mark.parametrize('name', OPERATORS)
def test_ways_compute_the_same(name: str) -> None:
    device = torch.device('cpu')
    made = prepare(name, Size(2, 32, 9, 8), 'train', torch.float64, device)
    first, *others = (steps.step() for steps in made.values())
    for other in others:
        torch.testing.assert_close(first, other)


@pytest.mark.parametrize(
    ('args', 'said'),
    [
        (('--models', 'dwnet_tinny'), "no classifier is named 'dwnet_tinny'"),
        (('--models', 'nothing.py'), 'no config at nothing.py'),
        (('--models', 'upernet_dwnet_tiny_160k_ade20k'), 'is not a classifier'),
        (('--models', 'dynamic_dwnet_tiny_nchw'), 'only a DWNet with static mixers'),
        (('--models', 'resnet18:selective'), 'resnet18:selective cannot be selective'),
        (('--models', 'resnet18:fused'), 'resnet18:fused cannot be fused'),
        (('--models', f'{NANO}:fused', '--mode', 'train'), 'fused is for inference'),
        (('--models', f'{NANO}:quick'), "has no variant 'quick'"),
        (('--models', 'resnet18', '--baseline', 'resnet50'), '--baseline resnet50 is not timed'),
        (('--models', 'swin_tiny_patch4_window7_224', '--input-size', 3), 'cannot be run on'),
        (('--launcher', 'pytorch'), 'is for --mode train'),
        (('--rounds', 0), '--rounds 0: give 1 or more'),
        (('--json', 'no/such/folder.json'), 'there is no such folder'),
        (('--device', 'abacus'), 'there is no device abacus'),
        (('--compile-only', '9.0'), '--compile-only is for operators'),
        (('--bytes',), '--bytes is for --mode train'),
        (('--operators', '--compile-only', '9.9'), '--compile-only 9.9: give one of 7.5, 8.0'),
        (('--operators', '--compile-only', '8.0', '--channels', 33), 'give a multiple of 32'),
        (('--operators', 'dynamic', '--baseline', 'magic'), '--baseline magic is not timed'),
        (
            ('--operators', 'inhomogeneous', '--channels', 33, *TINY),
            'cannot be run on (2, 33, 32, 32)',
        ),
    ],
)
def test_bad_input_is_told_in_a_sentence(run, args: tuple, said: str) -> None:
    told = run(*args, code=2).strip()
    assert said in told
    assert '\n' not in told
