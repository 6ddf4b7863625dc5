"""Custom configs with recipes of mmdet's own: mmdet's, but for DWNet and what has to fit it."""

import json
from pathlib import Path
from typing import Any

import mmdet
import pytest
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper

from .opening import DINO, MASK2FORMER, RTMDET_INS, UPSTREAM, build_model, opened

MMDET = Path(mmdet.__path__[0], '.mim', 'configs')
THEIRS = {
    DINO: 'dino/dino-4scale_r50_8xb2-12e_coco.py',
    MASK2FORMER: 'mask2former/mask2former_r50_8xb2-lsj-50e_coco.py',
    RTMDET_INS: 'rtmdet/rtmdet-ins_m_8xb32-300e_coco.py',
}
# RTMDet of a backbone without CSPNeXt's design, pretrained on ImageNet: another schedule.
CONVNEXT = 'rtmdet/rtmdet_l_convnext_b_4xb32-100e_coco.py'


def theirs(name: str) -> Config:
    config = Config.fromfile(MMDET / THEIRS.get(name, name))
    if name == MASK2FORMER:
        # Left over from their panoptic config, and not used.
        del config.model.data_preprocessor['seg_pad_value']
        for split in ('train', 'val', 'test'):
            del config[f'{split}_dataloader'].dataset.data_prefix['seg']
    return config


def plain(config: Any) -> Any:
    """Return a config as lists, dicts, numbers and strings, without mmdet's default for files."""
    if isinstance(config, dict):
        return {key: plain(value) for key, value in config.items() if key != 'backend_args'}
    if isinstance(config, (list, tuple)):
        return [plain(value) for value in config]
    return json.loads(json.dumps(config))


@pytest.mark.parametrize('name', UPSTREAM)
def test_model_is_mmdets_but_for_the_backbone(name):
    expected = theirs(name).model
    del expected['backbone']
    if name == DINO:
        expected.neck.in_channels = [192, 384, 768]
    if name == MASK2FORMER:
        expected.panoptic_head.in_channels = [96, 192, 384, 768]
    if name == RTMDET_INS:
        # DWNet's weights are for RGB.
        expected.data_preprocessor = theirs(CONVNEXT).model.data_preprocessor
    with opened(name) as config:
        model = config.model
    assert plain(model.pop('backbone')) == dict(
        type='DWNet',
        arch='tiny',
        out_indices=[0, 1, 2, 3] if name == MASK2FORMER else [1, 2, 3],
        drop_path_rate=0.3 if name == MASK2FORMER else 0.2,
        norm_cfg=dict(type='SyncBN'),
        init_cfg=dict(type='Pretrained', checkpoint='dwnet://dwnet_tiny', prefix='backbone.'),
    )
    assert plain(model) == plain(expected)


@pytest.mark.parametrize('name', UPSTREAM)
def test_data_are_mmdets(name):
    expected = theirs(name)
    batch_size = expected.train_dataloader.batch_size
    with opened(name) as config:
        for split in ('train', 'val', 'test'):
            ours, other = (plain(each[f'{split}_dataloader']) for each in (config, expected))
            for loader in (ours, other):
                # They change the speed alone.
                for key in ('num_workers', 'pin_memory', 'persistent_workers'):
                    loader.pop(key, None)
            assert ours == other
        assert config.train_dataloader.batch_size == batch_size
        for key in ('type', 'ann_file', 'metric', 'proposal_nums'):
            assert plain(config.test_evaluator.get(key)) == plain(expected.test_evaluator.get(key))


@pytest.mark.parametrize('name', UPSTREAM)
def test_schedule_is_mmdets(name):
    expected = theirs(CONVNEXT if name == RTMDET_INS else name)
    with opened(name) as config:
        assert plain(config.train_cfg) == plain(expected.train_cfg)
        schedules = expected.param_scheduler
        assert plain(config.param_scheduler) == plain(
            schedules if isinstance(schedules, list) else [schedules]
        )
        assert plain(config.optim_wrapper.get('clip_grad')) == plain(
            expected.optim_wrapper.get('clip_grad')
        )
        for key in ('type', 'lr', 'weight_decay'):
            assert config.optim_wrapper.optimizer[key] == expected.optim_wrapper.optimizer[key]
        assert config.optim_wrapper.dtype == 'float32'
        gpus = 4 if name == RTMDET_INS else 8
        assert config.auto_scale_lr == dict(
            enable=False, base_batch_size=gpus * config.train_dataloader.batch_size
        )


@pytest.mark.parametrize('name', UPSTREAM)
def test_runtime_is_that_of_all_configs(name):
    with opened(name) as config:
        assert config.optim_wrapper.type == 'GuardedOptimWrapper'
        assert config.default_hooks.checkpoint.type == 'ResumableCheckpointHook'
        assert config.bad_data == 'stop'
        assert config.custom_imports.imports == ['mmdwnet', 'mmdwnet.detection']
        by_epoch = name != MASK2FORMER
        assert config.log_processor.by_epoch == by_epoch
        assert config.default_hooks.checkpoint.get('by_epoch', True) == by_epoch
        assert config.default_hooks.logger.get('log_metric_by_epoch', True) == by_epoch
        assert config.default_hooks.checkpoint.interval == config.train_cfg.val_interval


def options(name: str) -> dict[str, tuple[float, float]]:
    """Return learning rate and weight decay of each parameter, as multiples of the config's."""
    with opened(name) as config:
        config.model.backbone.init_cfg = None
        model = build_model(config)
        wrapper = build_optim_wrapper(model, config.optim_wrapper)
        given = config.optim_wrapper.optimizer
    found = {
        parameter: (group['lr'] / given.lr, group['weight_decay'] / given.weight_decay)
        for group in wrapper.optimizer.param_groups
        for parameter in group['params']
    }
    return {key: found[parameter] for key, parameter in model.named_parameters()}


def test_dino_trains_the_backbone_at_a_tenth():
    for key, (rate, decay) in options(DINO).items():
        assert rate == pytest.approx(0.1 if key.startswith('backbone.') else 1), key
        assert decay == 1, key


def test_mask2former_decays_neither_norms_nor_embeddings():
    found = options(MASK2FORMER)
    backbone = {key for key in found if key.startswith('backbone.')}
    for key, (rate, _) in found.items():
        assert rate == pytest.approx(0.1 if key in backbone else 1), key
    without = {key for key, (_, decay) in found.items() if decay == 0}
    assert all(decay == 1 for key, (_, decay) in found.items() if key not in without)
    # BNs in blocks are decayed, as in all our detectors.
    assert without & backbone == {key for key in backbone if 'norm' in key}
    assert len(without & backbone) == 16
    assert without - backbone == {
        *(key for key in found.keys() - backbone if 'norm' in key or '.gn.' in key),
        *(f'panoptic_head.{name}.weight' for name in ('query_embed', 'query_feat', 'level_embed')),
    }


def test_rtmdet_ins_trains_early_layers_slowly():
    found = options(RTMDET_INS)
    # The embedding, 12 blocks, and what follows.
    rates = {
        'backbone.patch_embed.': 13,
        'backbone.layers.0.blocks.0.': 12,
        'backbone.layers.0.blocks.1.': 11,
        'backbone.layers.0.downsample.': 11,
        'backbone.layers.2.blocks.0.': 8,
        'backbone.layers.2.blocks.5.': 3,
        'backbone.layers.3.blocks.1.': 1,
        'backbone.norm3.': 0,
        'neck.': 0,
        'bbox_head.': 0,
    }
    for prefix, power in rates.items():
        keys = [key for key in found if key.startswith(prefix)]
        assert keys
        for key in keys:
            assert found[key][0] == pytest.approx(0.8**power), key
    for key, (_, decay) in found.items():
        flat = key.endswith('.bias') or 'norm' in key or '.bn' in key
        assert decay == (0 if flat else 1), key
