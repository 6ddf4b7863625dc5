"""The study: its configs, and all of it on few pictures."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from get_flops import main as get_flops
from mmengine.config import Config
from PIL import Image

from demo.study import data, report
from demo.study.command import main
from demo.study.running import plan, variants
from mmdwnet.apis.building import build_model

CONFIGS = Path(__file__).parents[2] / 'configs/study'
TWO = ('attention_w3', 'static_w3')
OUT = Path('work_dirs/study')
BROKEN = 'static_w3/seed0/epoch_1.pth'


@pytest.fixture(scope='module')
def cfgs() -> dict[str, Config]:
    return {name: Config.fromfile(CONFIGS / f'{name}.py') for name in variants()}


def test_every_variant_gives_logits(cfgs):
    assert len(cfgs) == 15
    for cfg in cfgs.values():
        model = build_model(cfg).eval()
        assert model(torch.zeros(1, 3, 56, 56), mode='tensor').shape == (1, 10)


def test_variants_have_the_same_recipe(cfgs):
    def recipe(cfg: Config) -> dict:
        own = ('model', 'study', 'tiny', 'nano_windows', 'tiny_windows', 'optim_wrapper')
        rest = {key: value for key, value in cfg.to_dict().items() if key not in own}
        return {**rest, 'head': cfg.model.head, 'optimizer': cfg.optim_wrapper.optimizer}

    assert all(recipe(cfg) == recipe(cfgs['static_w7']) for cfg in cfgs.values())


@pytest.mark.parametrize(
    ('name', 'parameters'),
    [
        ('static_w7', 24_172_744),
        ('dynamic_w7', 51_131_752),
        ('inhomogeneous_w7_g8', 26_244_280),
        ('attention_w7', 28_288_354),  # Swin-T
    ],
)
def test_tiny_models_are_the_published_ones(name, parameters, tmp_path):
    (run,) = plan([name], 1, tmp_path, None)
    assert sum(p.numel() for p in build_model(run.cfg).parameters()) == parameters
    assert run.cfg.train_cfg.max_epochs == 300


@pytest.fixture(scope='module')
def calls(fashion, tmp_path_factory) -> Iterator[Callable[[int], tuple[int, str, str]]]:
    """Compares two mixers, in a folder where one run cannot begin."""
    root = tmp_path_factory.mktemp('study')
    (root / OUT / 'static_w3/seed0').mkdir(parents=True)
    (root / OUT / BROKEN).write_bytes(b'half a file')

    def call(seeds: int) -> tuple[int, str, str]:
        said, errors = StringIO(), StringIO()
        with redirect_stdout(said), redirect_stderr(errors):
            code = main(['--fashion', str(fashion), '--seeds', str(seeds), '--only', *TWO])
        return code, said.getvalue(), errors.getvalue()

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr(report, '_SECONDS', 0)
        yield call


@pytest.fixture(scope='module')
def first(calls) -> tuple[int, str, str]:
    """What a call said of which one run failed."""
    return calls(1)


@pytest.fixture(scope='module')
def second(calls, first) -> tuple[str, list[dict], str]:
    """What another call said, after the fault was removed, and the results."""
    Path(OUT / BROKEN).unlink()
    begun = {path: path.read_text() for path in OUT.glob('attention_w3/seed0.*')}
    code, said, _ = calls(2)
    assert code == 0
    assert begun == {path: path.read_text() for path in begun}
    return said, json.loads((OUT / 'results.json').read_text()), (OUT / 'table.md').read_text()


def test_failed_run_is_named_and_costs_no_other(first):
    code, said, errors = first
    assert code == 2
    assert f'static_w3, seed 0: failed, see {OUT}/static_w3/seed0.log' in said
    assert errors == '1 of 2 runs failed; the same command tries again\n'
    assert Path(BROKEN).name in (OUT / 'static_w3/seed0.log').read_text()
    (row,) = json.loads((OUT / 'results.json').read_text())
    assert row['config'] == 'attention_w3'


def test_next_call_trains_what_is_missing(second):
    said, results, _ = second
    assert '1 of 4 runs are finished' in said
    assert re.findall(r'(\w+), seed (\d): top-1 ', said) == [
        ('static_w3', '0'),
        ('attention_w3', '1'),
        ('static_w3', '1'),
    ]
    assert said.count('minutes left') == 2  # the first is no measure, as its folder was there
    assert [row['config'] for row in results] == list(TWO)


def test_table_has_what_was_measured_and_where_its_logs_are(second, capsys):
    _, results, table = second
    for row, line in zip(results, table.splitlines()[2:], strict=True):
        assert len(row['top1']) == len(row['logs']) == 2
        for top1, log in zip(row['top1'], row['logs'], strict=True):
            assert f'[{top1:.2f}]({log})' in line
            said = re.findall(r'accuracy/top1: ([\d.]+)', (OUT / log).read_text())
            assert said == [f'{top1:.4f}']
        assert f'| {np.mean(row["top1"]):.2f} ± {np.std(row["top1"], ddof=1):.2f} |' in line
        assert get_flops([str(CONFIGS / f'{row["config"]}.py'), '--depth', '0']) == 0
        counted = capsys.readouterr().out
        assert f'{row["parameters"]:,}' in counted
        assert f'{row["multiply_adds"] / 1e9:.3f} G' in counted
    with Image.open(OUT / 'figure.png') as figure:
        assert figure.width > 1000


def test_results_of_other_settings_are_not_taken(second, calls):
    path = OUT / 'static_w3/seed1.py'
    text = path.read_text()
    path.write_text(text.replace('lr=0.003', 'lr=0.1'))
    code, _, errors = calls(2)
    path.write_text(text)
    assert code == 2
    assert f'{path} is of a study with other settings' in errors


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        (['--only', 'static_w4'], 'there is no configs/study/static_w4.py: choose from'),
        (['--seeds', '0'], '--seeds 0: give 1 or more'),
        (['--fashion', 'nowhere'], 'there is no folder nowhere: give that of the files'),
        (['--imagenet'], 'data/imagenet'),
    ],
)
def test_bad_input_is_told_before_anything_is_trained(
    arguments, said, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert main(['--only', 'static_w3', '--seeds', '1', *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.rglob('*.pth'))


def test_without_clothes_digits_are_drawn(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(data, 'FASHION', tmp_path / 'missing')
    few = dict(cls_every=20, cls_train_per_digit=1, cls_val_per_digit=1)
    monkeypatch.setattr(data, 'DIGITS', replace(data.DIGITS, **few))
    root = data.make_pictures(data.FASHION)
    assert 'apt-get install dataset-fashion-mnist' in capsys.readouterr().out
    for split in ('train', 'val'):
        assert len(list((root / split).iterdir())) == 10
