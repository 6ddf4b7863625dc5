import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import HOOKS, MODELS, VISUALIZERS
from mmengine.runner import Runner

from .opening import (
    CLASSIFIER,
    CLASSIFIERS,
    CONFIGS,
    CUSTOM,
    DETECTOR,
    DETECTORS,
    DINO,
    MASK2FORMER,
    RTMDET_INS,
    SEGMENTOR,
    SEGMENTORS,
    SWIN_MLPS,
    TINY,
    UPSTREAM,
    build_model,
    opened,
)
from .steps import SIZE, batch, has_masks, lighten, take_a_training_step


def test_no_config_is_left_out():
    there = {str(path.relative_to(CONFIGS)) for path in CONFIGS.glob('[!_]*/*.py')}
    known = {*CLASSIFIERS, *SWIN_MLPS, *DETECTORS, *SEGMENTORS, *CUSTOM}
    # Small models have tests of their own.
    assert {name for name in there if not name.startswith(('finetune/', 'study/'))} == known


def check_result(config: Config, result) -> None:
    if config.default_scope == 'mmpretrain':
        assert result.pred_score.shape == (1000,)
        assert result.pred_score.sum().item() == pytest.approx(1, abs=1e-4)
        assert result.pred_label.item() == result.pred_score.argmax().item()
    elif config.default_scope == 'mmdet':
        instances = result.pred_instances
        assert len(instances) <= (300 if config.model.type == 'DINO' else 100)
        assert instances.bboxes.shape == (len(instances), 4)
        assert ((instances.bboxes >= 0) & (instances.bboxes <= SIZE)).all()
        assert ((instances.labels >= 0) & (instances.labels < 80)).all()
        if has_masks(config):
            assert instances.masks.shape == (len(instances), SIZE, SIZE)
            assert instances.masks.dtype == torch.bool
    else:
        labels = result.pred_sem_seg.data
        assert labels.shape == (1, SIZE, SIZE)
        assert ((labels >= 0) & (labels < 150)).all()
        assert result.seg_logits.data.shape == (150, SIZE, SIZE)


@pytest.mark.parametrize('name', TINY + CUSTOM)
def test_takes_a_training_and_a_test_step(name):
    torch.manual_seed(0)
    with opened(name) as config:
        lighten(config)
        model = build_model(config)
        model.init_weights()
        model.train()
        take_a_training_step(config, model)
        model.eval()
        results = model.test_step(batch(config))
        assert len(results) == 2
        for result in results:
            check_result(config, result)


@pytest.mark.parametrize(
    'name',
    [
        # On processors without instructions for bfloat16, the others take half a minute each.
        pytest.param(name, marks=() if name in (CLASSIFIER, RTMDET_INS) else pytest.mark.slow)
        for name in (CLASSIFIER, DETECTOR, *UPSTREAM)
    ],
)
def test_takes_a_training_step_in_bfloat16(name):
    torch.manual_seed(0)
    with opened(name) as config:
        lighten(config)
        config.model.backbone.arch = dict(embed_dims=96, depths=(1, 1, 1, 1))
        config.optim_wrapper.dtype = 'bfloat16'
        model = build_model(config)
        model.init_weights()  # parameters of DINO have no values before
        model.train()
        take_a_training_step(config, model)


def first_batch(dataloader: dict, data_root: Path, pipeline: list | None = None) -> dict:
    """Read a batch with the data loader of a config from another root, in this process."""
    dataloader = copy.deepcopy(dataloader)
    dataloader.update(num_workers=0, persistent_workers=False, batch_size=1)
    dataloader.dataset.data_root = str(data_root)
    if pipeline is not None:
        dataloader.dataset.pipeline = pipeline
    return next(iter(Runner.build_dataloader(dataloader, seed=0)))


@pytest.mark.parametrize(('name', 'size'), [(CLASSIFIER, 224), (SWIN_MLPS[0], 256)])
def test_imagenet_is_read(name, size, imagenet):
    with opened(name) as config:
        for loader in (config.train_dataloader, config.test_dataloader):
            data = first_batch(loader, imagenet)
            assert data['inputs'].shape == (1, 3, size, size)
            assert data['data_samples'][0].gt_label.item() == 7
        views = first_batch(config.test_dataloader, imagenet, config.tta_pipeline)['inputs']
        image, mirrored = (view[0] for view in views)
        assert image.flip(-1).equal(mirrored)


@pytest.mark.parametrize(
    'name',
    [
        DETECTOR,
        UPSTREAM[0],
        *(pytest.param(name, marks=pytest.mark.slow) for name in CUSTOM[:2] + UPSTREAM[1:]),
    ],
)
def test_coco_is_read(name, coco):
    size = 640 if name == RTMDET_INS else (800, 1067)
    most = {MASK2FORMER: 1024, RTMDET_INS: 640}.get(name, 1333)
    with opened(name) as config:
        data = first_batch(config.test_dataloader, coco)
        assert data['inputs'][0].shape == (3, *np.broadcast_to(size, 2))
        for seed in range(10):
            np.random.seed(seed)
            data = first_batch(config.train_dataloader, coco)
            height, width = data['inputs'][0].shape[1:]
            instances = data['data_samples'][0].gt_instances
            boxes = instances.bboxes.tensor
            assert (boxes >= 0).all()
            assert (boxes <= torch.tensor([width, height] * 2)).all()
            assert max(height, width) <= most
            if name in (DETECTOR, DINO):
                assert min(height, width) in range(480, 801, 32) or max(height, width) == 1333
            if has_masks(config):
                masks = instances.masks
                assert (len(masks), masks.height, masks.width) == (len(boxes), height, width)
        if has_masks(config):
            assert 'tta_model' not in config  # mmdet does not support it for masks
            return
        views = first_batch(config.test_dataloader, coco, config.tta_pipeline)['inputs']
        mirrored, image = (view[0] for view in views)
        assert image.flip(-1).equal(mirrored)


@pytest.mark.parametrize('name', [SEGMENTOR, CUSTOM[2]])
def test_ade20k_is_read(name, ade):
    with opened(name) as config:
        data = first_batch(config.test_dataloader, ade)
        assert data['inputs'][0].shape == (3, 512, 683)
        labels = data['data_samples'][0].gt_sem_seg.data
        assert labels.shape == (1, 240, 320)
        assert labels.unique().tolist() == [149, 255]
        data = first_batch(config.train_dataloader, ade)
        assert max(data['inputs'][0].shape[1:]) <= 512
        views = first_batch(config.test_dataloader, ade, config.tta_pipeline)['inputs']
        assert len(views) == 12


@pytest.mark.parametrize('name', TINY + CUSTOM)
def test_runtime_builds(name, tmp_path):
    with opened(name) as config:
        # The hooks draw with the visualizer created last.
        VISUALIZERS.build(dict(config.visualizer, name=name, save_dir=str(tmp_path)))
        for hook in config.default_hooks.values():
            HOOKS.build(hook)


@pytest.mark.parametrize(
    ('name', 'data'), [(CLASSIFIER, 'imagenet'), (CUSTOM[1], 'coco'), (SEGMENTOR, 'ade')]
)
def test_takes_a_test_step_with_augmentation(name, data, request):
    data_root = request.getfixturevalue(data)
    with opened(name) as config:
        for step in config.tta_pipeline[-1].transforms[0]:
            # Smaller images than in the config, to save time.
            if step.type == 'Resize':
                step.update(scale=(80, 64), scale_factor=None)
        views = first_batch(config.test_dataloader, data_root, config.tta_pipeline)
        model = MODELS.build(dict(config.tta_model, module=build_model(config))).eval()
        (result,) = model.test_step(views)
    if name == CLASSIFIER:
        assert result.pred_score.shape == (1000,)
    elif name == SEGMENTOR:
        assert result.pred_sem_seg.data.shape == (1, 240, 320)
    else:
        assert result.pred_instances.bboxes.shape == (len(result.pred_instances), 4)


@pytest.mark.parametrize('name', TINY + CUSTOM)
def test_the_copy_in_a_work_dir_says_the_same(name, tmp_path):
    with opened(name) as config:
        config.dump(tmp_path / 'copy.py')
    assert Config.fromfile(tmp_path / 'copy.py').to_dict() == config.to_dict()
