"""The config that is written for each task: read by mmengine, built, and trained with."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import default_collate, pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, METRICS, DefaultScope

from mmdwnet.apis.building import build_model
from mmdwnet.finetuning.balance import class_weights
from mmdwnet.finetuning.config import Start, code, config_text
from mmdwnet.finetuning.lists import write_lists
from mmdwnet.finetuning.models import NANO, find_config
from mmdwnet.finetuning.settings import Settings

from .made import make

SETTINGS = Settings(
    size=64,
    batch_size=4,
    epochs=2,
    lr=1e-3,
    base_batch_size=4,
    warmup=1,
    frozen_stages=-1,
    workers=0,
    nano=True,
    colors=False,
)


def written(task: str, out: Path, found, settings: Settings = SETTINGS, start=None) -> Config:
    datasets = write_lists(found, out)
    base = str(find_config(task, NANO[task]))
    text = config_text(base, found, settings, datasets, start or Start('From scratch.'))
    (out / 'config.py').write_text(text)
    return Config.fromfile(out / 'config.py')


def take_a_step(cfg: Config) -> dict:
    """Train on one batch as the config says; return the losses."""
    np.random.seed(0)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        dataset = DATASETS.build(cfg.train_dataloader.dataset)
        assert len(dataset) == 8
        collate = default_collate if 'collate_fn' in cfg.train_dataloader else pseudo_collate
        batch = collate([dataset[i] for i in range(cfg.batch_size)])
        model = build_model(cfg)
        model.init_weights()
        wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
        return model.train().train_step(batch, wrapper)


@pytest.mark.parametrize('task', NANO)
def test_trains_as_written(task, tmp_path):
    settings = replace(SETTINGS, nano=False, colors=True)
    cfg = written(task, tmp_path / 'out', make(task, tmp_path / 'data'), settings)
    assert cfg.work_dir == str(tmp_path / 'out/run')
    losses = take_a_step(cfg)
    assert losses['loss'].isfinite()
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        METRICS.build(cfg.test_evaluator)
        dataset = DATASETS.build(cfg.test_dataloader.dataset)
        sample = dataset[0]
    assert len(dataset) == 4
    assert sample['inputs'].shape[0] == 3
    assert min(sample['inputs'].shape[1:]) == (51 if task == 'detect' else 64)


def test_a_detector_without_masks(tmp_path):
    found = make('detect', tmp_path / 'data')
    found.masks = False
    cfg = written('detect', tmp_path / 'out', found)
    losses = take_a_step(cfg)
    assert not any('mask' in name for name in losses)
    assert cfg.test_evaluator.metric == 'bbox'


@pytest.mark.parametrize('task', NANO)
def test_looks_as_formatted(task, tmp_path):
    found = make(task, tmp_path / 'data')
    found.classes = [f'{name} "with a long name", number {i}' for i, name in enumerate('abcdef')]
    found.splits['test'] = found.splits['val']
    start = Start('From another.', backbone='other.pth')
    settings = replace(SETTINGS, class_weight=[0.4] + [1.0] * 5, frozen_stages=2)
    cfg = written(task, tmp_path / 'out', found, settings, start)
    assert cfg.test_dataloader.dataset.ann_file != cfg.val_dataloader.dataset.ann_file
    assert cfg.model.backbone.init_cfg[0].checkpoint == 'other.pth'
    assert list(cfg.metainfo.classes) == found.classes
    ruff = [sys.executable, '-m', 'ruff', 'format', '--isolated', '--check', '--line-length=100']
    ruff += ['--config', 'format.quote-style="single"', str(tmp_path / 'out/config.py')]
    assert subprocess.run(ruff, capture_output=True).returncode == 0


@pytest.mark.parametrize(
    'value',
    [
        dict(a=1, b='x', c=[1, 2], d=(3,)),
        {'not a name': [None, True]},
        [f'class {i}' for i in range(40)],
        dict(palette=[(1, 2, 3)] * 30, classes=['"', "'", '\\', 'ä\n']),
        [],
    ],
)
def test_code_means_the_value(value):
    assert eval(code(value, 11)) == value
    assert all(len(line) <= 89 for line in code(value, 11).splitlines())


def test_weights_are_for_a_class_with_most_pixels(tmp_path):
    found = make('segment', tmp_path / 'data')
    dataset = write_lists(found, tmp_path / 'out')['train']
    assert class_weights(dataset) == [0.4, 1.0, 1.0]
    cfg = written('segment', tmp_path / 'out', found, replace(SETTINGS, class_weight=[0.4, 1, 1]))
    assert cfg.model.auxiliary_head.loss_decode.loss_weight == 0.4
    assert take_a_step(cfg)['loss'].isfinite()


def test_there_are_no_weights_where_pixels_are_ignored(tmp_path):
    found = make('segment', tmp_path / 'data')
    labels = cv2.imread(str(found.splits['train'][0].map), cv2.IMREAD_UNCHANGED)
    labels[0, 0] = 255
    cv2.imwrite(str(found.splits['train'][0].map), labels)
    assert class_weights(write_lists(found, tmp_path / 'out')['train']) is None


def test_a_backbone_comes_from_another_task(tmp_path):
    model = build_model(Config.fromfile(find_config('classify', NANO['classify'])))
    torch.save(model.state_dict(), tmp_path / 'other.pth')
    for task in NANO:
        found = make(task, tmp_path / task)
        start = Start('From another.', backbone=str(tmp_path / 'other.pth'))
        cfg = written(task, tmp_path / f'{task}_out', found, start=start)
        with DefaultScope.overwrite_default_scope(cfg.default_scope):
            started = build_model(cfg)
            started.init_weights()
        weights = started.backbone.state_dict()
        same = [key for key in weights if f'backbone.{key}' in model.state_dict()]
        assert len(same) > 50
        assert all(weights[key].equal(model.state_dict()[f'backbone.{key}']) for key in same)


def test_frozen_stages_do_not_change(tmp_path):
    found = make('classify', tmp_path / 'data')
    cfg = written('classify', tmp_path / 'out', found, replace(SETTINGS, frozen_stages=2))
    model = build_model(cfg).train()
    assert not any(p.requires_grad for p in model.backbone.layers[1].parameters())
    assert all(p.requires_grad for p in model.backbone.layers[2].parameters())
