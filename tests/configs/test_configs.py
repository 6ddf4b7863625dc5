import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, MODELS, VISUALIZERS
from mmengine.runner import Runner
from mmengine.structures import InstanceData, PixelData

from .opening import (
    CLASSIFIER,
    CLASSIFIERS,
    CONFIGS,
    CUSTOM,
    DETECTOR,
    DETECTORS,
    SEGMENTOR,
    SEGMENTORS,
    SWIN_MLPS,
    TINY,
    build_model,
    opened,
)

SIZE = 64


def test_no_config_is_left_out():
    there = {str(path.relative_to(CONFIGS)) for path in CONFIGS.glob('[!_]*/*.py')}
    known = {*CLASSIFIERS, *SWIN_MLPS, *DETECTORS, *SEGMENTORS, *CUSTOM}
    assert {name for name in there if not name.startswith('demo/')} == known


def lighten(config: Config) -> None:
    """Cut what a step costs on small images, and no layer of the model."""
    config.model.backbone.init_cfg = None  # no pretrained weights
    if config.default_scope == 'mmseg':
        # Training images are padded to this size.
        config.model.data_preprocessor.size = (SIZE, SIZE)
    if 'roi_head' in config.model:
        config.model.test_cfg.rpn.max_per_img = 100
        stages = config.model.train_cfg.rcnn
        for stage in stages if isinstance(stages, list) else [stages]:
            stage.sampler.num = 32


def sample(scope: str, with_mask: bool, seed: int) -> dict:
    """One random image with its truth, as the end of a pipeline would pack it."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (3, SIZE, SIZE), dtype=torch.uint8, generator=generator)
    metainfo = dict(ori_shape=(SIZE, SIZE), img_shape=(SIZE, SIZE), scale_factor=(1.0, 1.0))
    if scope == 'mmpretrain':
        from mmpretrain.structures import DataSample

        truth = DataSample(metainfo=metainfo).set_gt_label(seed)
    elif scope == 'mmdet':
        from mmdet.structures import DetDataSample
        from mmdet.structures.bbox import HorizontalBoxes
        from mmdet.structures.mask import BitmapMasks

        boxes = [[4, 4, 28, 36], [20, 15, 60, 55]]
        instances = InstanceData(
            bboxes=HorizontalBoxes(torch.tensor(boxes, dtype=torch.float32)),
            labels=torch.tensor([seed, 79]),
        )
        if with_mask:
            masks = np.zeros((2, SIZE, SIZE), dtype=np.uint8)
            for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
                mask[y1:y2, x1:x2] = 1
            instances.masks = BitmapMasks(masks, SIZE, SIZE)
        truth = DetDataSample(metainfo=metainfo, gt_instances=instances)
        truth.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0))
    else:
        from mmseg.structures import SegDataSample

        labels = torch.randint(0, 150, (1, SIZE, SIZE), generator=generator)
        truth = SegDataSample(metainfo=metainfo, gt_sem_seg=PixelData(data=labels))
    return dict(inputs=image, data_samples=truth)


def batch(config: Config) -> dict:
    with_mask = 'roi_head' in config.model
    return pseudo_collate([sample(config.default_scope, with_mask, seed) for seed in (3, 4)])


def check_result(config: Config, result) -> None:
    if config.default_scope == 'mmpretrain':
        assert result.pred_score.shape == (1000,)
        assert result.pred_score.sum().item() == pytest.approx(1, abs=1e-4)
        assert result.pred_label.item() == result.pred_score.argmax().item()
    elif config.default_scope == 'mmdet':
        instances = result.pred_instances
        assert len(instances) <= 100
        assert instances.bboxes.shape == (len(instances), 4)
        assert ((instances.bboxes >= 0) & (instances.bboxes <= SIZE)).all()
        assert ((instances.labels >= 0) & (instances.labels < 80)).all()
        if 'roi_head' in config.model:
            assert instances.masks.shape == (len(instances), SIZE, SIZE)
            assert instances.masks.dtype == torch.bool
    else:
        labels = result.pred_sem_seg.data
        assert labels.shape == (1, SIZE, SIZE)
        assert ((labels >= 0) & (labels < 150)).all()
        assert result.seg_logits.data.shape == (150, SIZE, SIZE)


def take_a_training_step(config: Config, model: torch.nn.Module) -> None:
    optim_wrapper = build_optim_wrapper(model, config.optim_wrapper)
    before = {key: value.detach().clone() for key, value in model.named_parameters()}
    losses = model.train_step(batch(config), optim_wrapper)
    assert losses['loss'].isfinite()
    # AdamW moves all that has a gradient. A drop path may cut a branch off for one step, a
    # detector's later stages may have drawn no foreground.
    moved = {key for key, value in model.named_parameters() if not value.equal(before[key])}
    assert 'backbone.patch_embed.proj.weight' in moved
    assert len(moved) > 0.8 * len(before)
    assert all(value.isfinite().all() for value in model.parameters())


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


@pytest.mark.parametrize('name', [CLASSIFIER, DETECTOR])
def test_takes_a_training_step_in_bfloat16(name):
    torch.manual_seed(0)
    with opened(name) as config:
        lighten(config)
        config.model.backbone.arch = dict(embed_dims=96, depths=(1, 1, 1, 1))
        config.optim_wrapper.dtype = 'bfloat16'
        model = build_model(config).train()
        take_a_training_step(config, model)


def first_batch(dataloader: dict, data_root: Path, pipeline: list | None = None) -> dict:
    """A batch that a config's data loader reads from another root, in this process."""
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


@pytest.mark.parametrize('name', [DETECTOR, *CUSTOM[:2]])
def test_coco_is_read(name, coco):
    with opened(name) as config:
        data = first_batch(config.test_dataloader, coco)
        assert data['inputs'][0].shape == (3, 800, 1067)
        for seed in range(10):
            np.random.seed(seed)
            data = first_batch(config.train_dataloader, coco)
            height, width = data['inputs'][0].shape[1:]
            instances = data['data_samples'][0].gt_instances
            boxes = instances.bboxes.tensor
            assert (boxes >= 0).all()
            assert (boxes <= torch.tensor([width, height] * 2)).all()
            assert max(height, width) <= 1333
            if name == DETECTOR:
                assert min(height, width) in range(480, 801, 32) or max(height, width) == 1333
            if 'roi_head' in config.model:
                assert instances.masks.masks.shape == (len(boxes), height, width)
        if 'roi_head' in config.model:
            assert 'tta_model' not in config  # mmdet has none for masks
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
        # The hooks draw with the visualizer that was made last.
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
            # Smaller images than the config's, for the sake of time.
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
