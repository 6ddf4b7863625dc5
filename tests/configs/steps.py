"""Lighter models of configs, and a training step with them."""

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.structures import InstanceData, PixelData

SIZE = 64


def lighten(config: Config) -> None:
    """Reduce the cost of a step on small images without removing a layer."""
    config.model.backbone.init_cfg = None  # no pretrained weights
    if config.default_scope == 'mmseg':
        # Training images are padded to this size.
        config.model.data_preprocessor.size = (SIZE, SIZE)
    if config.model.type == 'Mask2Former':
        config.model.data_preprocessor.batch_augments = None  # pads to 1024 x 1024
    if config.model.type == 'DINO':
        config.model.num_queries = 60  # of the 85 positions of the maps
    if 'roi_head' in config.model:
        config.model.test_cfg.rpn.max_per_img = 100
        stages = config.model.train_cfg.rcnn
        for stage in stages if isinstance(stages, list) else [stages]:
            stage.sampler.num = 8


def has_masks(config: Config) -> bool:
    """Return whether a config is of an instance segmentation model."""
    return 'segm' in config.test_evaluator.get('metric', ())


def sample(scope: str, with_mask: bool, seed: int) -> dict:
    """Return one random image with ground truth, packed as at the end of a pipeline."""
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
    scope, with_mask = config.default_scope, has_masks(config)
    return pseudo_collate([sample(scope, with_mask, seed) for seed in (3, 4)])


def take_a_training_step(config: Config, model: torch.nn.Module) -> None:
    optim_wrapper = build_optim_wrapper(model, config.optim_wrapper)
    before = {key: value.detach().clone() for key, value in model.named_parameters()}
    losses = model.train_step(batch(config), optim_wrapper)
    assert losses['loss'].isfinite()
    # AdamW updates each parameter with a gradient. Drop path may skip a branch in this step, and
    # later stages of a detector may have sampled no foreground.
    moved = {key for key, value in model.named_parameters() if not value.equal(before[key])}
    assert 'backbone.patch_embed.proj.weight' in moved
    assert len(moved) > 0.8 * len(before)
    assert all(value.isfinite().all() for value in model.parameters())
