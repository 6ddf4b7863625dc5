"""The recipes of the paper: its twelve models and related ones."""

import copy
import json
import math
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import mmdet
import mmseg
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS
from torch.overrides import TorchFunctionMode

from .opening import (
    CLASSIFIER,
    CLASSIFIERS,
    DETECTOR,
    DETECTORS,
    SEGMENTOR,
    SEGMENTORS,
    SWIN_MLPS,
    build_model,
    opened,
)

GOLDEN = Path(__file__).parents[1] / 'data' / 'golden'
MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
IMAGENET_IMAGES = 1_281_167
COCO_IMAGES = 117_266  # of train2017, those with annotations
MIXERS = dict(dwnet='static', dynamic_dwnet='dynamic', i_dynamic_dwnet='inhomogeneous')


def arch(name: str) -> str:
    return 'base' if '_base' in name else 'tiny'


def widths(name: str) -> list[int]:
    return [{'tiny': 96, 'base': 128}[arch(name)] * 2**i for i in range(4)]


def variant(name: str) -> str:
    """Return the name of the classifier whose network a config uses."""
    stem = Path(name).stem
    for around in ('cascade_mask_rcnn_', '_3x_coco', 'upernet_', '_160k_ade20k'):
        stem = stem.replace(around, '')
    return stem


def plain(config: object) -> object:
    """Return a config or a part of it as plain lists, dicts, numbers and strings."""
    return json.loads(json.dumps(config))


class Uninitialized(TorchFunctionMode):
    """Skip the initialization of parameters, which takes most of the time to build a model."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if getattr(function, '__module__', None) == 'torch.nn.init':
            return args[0] if args else kwargs['tensor']
        return function(*args, **(kwargs or {}))


class Parameter(NamedTuple):
    count: int
    decay: float


@cache
def parameters(name: str) -> dict[str, Parameter]:
    """Return the parameters of the model of a config, with their weight decay."""
    with opened(name) as config, Uninitialized():
        model = build_model(config)
        optimizer = build_optim_wrapper(model, config.optim_wrapper).optimizer
    decays = {
        parameter: group['weight_decay']
        for group in optimizer.param_groups
        for parameter in group['params']
    }
    return {
        key: Parameter(parameter.numel(), decays[parameter])
        for key, parameter in model.named_parameters()
    }


def count(name: str) -> int:
    return sum(parameter.count for parameter in parameters(name).values())


@pytest.mark.parametrize(
    ('name', 'published'),
    [
        ('dwnet_tiny', 24_172_744),
        ('dynamic_dwnet_tiny', 51_131_752),
        ('i_dynamic_dwnet_tiny', 26_244_280),
        ('dwnet_base', 74_347_112),
        ('dynamic_dwnet_base', 161_597_928),
        ('i_dynamic_dwnet_base', 80_253_608),
        ('swin_mlp_tiny_c24', 20_386_632),
        ('swin_mlp_tiny_c12', 21_152_072),
        ('swin_mlp_tiny_c6', 22_682_952),
        ('swin_mlp_base', 60_659_416),
    ],
)
def test_classifiers_have_as_many_parameters_as_published(name, published):
    assert count(f'cls/{name}.py') == published


@pytest.mark.parametrize(
    ('name', 'detector', 'segmentor'),
    [
        ('dwnet_tiny', 82, 56),
        ('dwnet_base', 132, 108),
        ('dynamic_dwnet_tiny', 108, 83),
        ('dynamic_dwnet_base', 219, 195),
    ],
)
def test_dense_models_have_as_many_million_parameters_as_published(name, detector, segmentor):
    assert round(count(f'det/cascade_mask_rcnn_{name}_3x_coco.py') / 1e6) == detector
    assert round(count(f'seg/upernet_{name}_160k_ade20k.py') / 1e6) == segmentor


@pytest.mark.parametrize('names', [DETECTORS, SEGMENTORS])
def test_dense_models_differ_by_their_backbones_alone(names):
    for name in names:
        static = variant(name).replace('i_dynamic_', '').replace('dynamic_', '')
        (base,) = [other for other in names if variant(other) == static]
        more = count(f'cls/{variant(name)}.py') - count(f'cls/{static}.py')
        assert count(name) - count(base) == more


def authors_parameters(golden: str) -> dict[str, list[int]]:
    """Return parameter shapes of a model of the authors by name."""
    keys = json.loads((GOLDEN / f'{golden}.json').read_text())['keys']
    statistics = ('running_mean', 'running_var', 'num_batches_tracked')
    return {key: shape for key, shape in keys.items() if not key.endswith(statistics)}


def check_decay(name: str, without: set[str]) -> None:
    with opened(name) as config:
        decay = config.optim_wrapper.optimizer.weight_decay
    found = parameters(name)
    assert {parameter.decay for parameter in found.values()} == {0, decay}
    assert {key for key, parameter in found.items() if not parameter.decay} == without


@pytest.mark.parametrize('name', CLASSIFIERS + SWIN_MLPS)
def test_classifiers_decay_neither_biases_nor_flat_parameters(name):
    without = {
        key.replace('head.', 'head.fc.') if key.startswith('head.') else f'backbone.{key}'
        for key, shape in authors_parameters(f'cls_{variant(name)}').items()
        if len(shape) == 1 or key.endswith('.bias')
    }
    check_decay(name, without)


@pytest.mark.parametrize('name', DETECTORS + SEGMENTORS)
def test_dense_models_decay_all_but_the_authors_norms(name):
    # The norms outside the mixers are the same for all: use those of the static backbone.
    keys = authors_parameters(f'dense_dwnet_{arch(name)}')
    backbone = {f'backbone.{key}' for key in keys if 'norm' in key}
    # Patch embedding, three patch mergings, four outputs: a weight and a bias each.
    assert len(backbone) == 16
    heads = [key for key in parameters(name) if not key.startswith('backbone.')]
    # Necks and heads have the authors' names, in which BNs are called bn.
    assert any('.bn.' in key for key in heads)
    check_decay(name, backbone | {key for key in heads if 'norm' in key})


@pytest.mark.parametrize(
    ('names', 'lr', 'decay', 'batch', 'max_norm', 'dtype'),
    [
        (CLASSIFIERS + SWIN_MLPS, 1e-3, 0.05, 1024, 5.0, 'auto'),
        (DETECTORS, 1e-4, 0.05, 16, None, 'auto'),
        (SEGMENTORS, 6e-5, 0.01, 16, None, 'float32'),
    ],
)
def test_optimizer_and_batch(names, lr, decay, batch, max_norm, dtype):
    for name in names:
        with opened(name) as config:
            wrapper = build_optim_wrapper(torch.nn.Linear(1, 1), config.optim_wrapper)
        defaults = wrapper.optimizer.defaults
        assert isinstance(wrapper.optimizer, torch.optim.AdamW)
        assert (defaults['lr'], defaults['weight_decay']) == (lr, decay)
        assert (tuple(defaults['betas']), defaults['eps']) == ((0.9, 0.999), 1e-8)
        assert wrapper.clip_grad_kwargs == (max_norm and dict(max_norm=max_norm))
        assert config.optim_wrapper.type == 'GuardedOptimWrapper'
        assert config.optim_wrapper.dtype == dtype
        gpus = 16 if name in CLASSIFIERS + SWIN_MLPS and arch(name) == 'base' else 8
        assert gpus * config.train_dataloader.batch_size == batch
        assert config.auto_scale_lr.base_batch_size == batch


@pytest.mark.parametrize('names', [CLASSIFIERS + SWIN_MLPS, DETECTORS, SEGMENTORS])
def test_all_models_of_a_task_have_one_schedule(names):
    schedules = []
    for name in names:
        with opened(name) as config:
            schedules.append([config.train_cfg, config.param_scheduler, config.default_hooks])
    assert all(schedule == schedules[0] for schedule in schedules)


def learning_rates(config: Config, epoch_length: int) -> torch.Tensor:
    """Return the learning rate of each iteration, stepped as in ParamSchedulerHook of mmengine."""
    lr = config.optim_wrapper.optimizer.lr
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    schedulers = [
        PARAM_SCHEDULERS.build(
            scheduler, default_args=dict(optimizer=optimizer, epoch_length=epoch_length)
        )
        for scheduler in copy.deepcopy(config.param_scheduler)
    ]
    by_iteration = [scheduler for scheduler in schedulers if not scheduler.by_epoch]
    by_epoch = [scheduler for scheduler in schedulers if scheduler.by_epoch]
    loop = config.train_cfg
    total = loop.max_iters if 'max_iters' in loop else loop.max_epochs * epoch_length
    optimizer.step()  # torch warns if a scheduler is stepped first
    rates = []
    for iteration in range(total):
        rates.append(optimizer.param_groups[0]['lr'])
        for scheduler in by_iteration:
            scheduler.step()
        if (iteration + 1) % epoch_length == 0:
            for scheduler in by_epoch:
                scheduler.step()
    return torch.tensor(rates, dtype=torch.float64)


def warmup(iteration: int, length: int, factor: float) -> float:
    return factor + (1 - factor) * iteration / (length - 1)


def check_curve(rates: torch.Tensor, closed_form, *corners: int) -> None:
    """Compare the first, last and every 1,000th iteration, and those around corners."""
    checked = [
        *range(0, len(rates), 1000),
        len(rates) - 1,
        *(i + j for i in corners for j in (-1, 0)),
    ]
    expected = [closed_form(i) for i in checked]
    # mmengine multiplies step by step, so rounding errors accumulate.
    assert rates[checked].tolist() == pytest.approx(expected, rel=1e-5, abs=1e-12)


def test_classifier_learning_rate():
    length = math.ceil(IMAGENET_IMAGES / 1024)
    start, end = 20 * length, 300 * length

    def closed_form(i: int) -> float:
        if i < start:
            return 1e-3 * warmup(i, start, 1e-3)
        cosine = math.cos(math.pi * (i - start) / (end - start))
        return 1e-5 + (1e-3 - 1e-5) * (1 + cosine) / 2

    with opened(CLASSIFIER) as config:
        rates = learning_rates(config, length)
    assert len(rates) == end == 375_600
    assert rates[0].item() == pytest.approx(1e-6)
    assert rates[-1].item() == pytest.approx(1e-5)
    check_curve(rates, closed_form, start)


def test_detector_learning_rate():
    length = math.ceil(COCO_IMAGES / 16)

    def closed_form(i: int) -> float:
        if i < 500:
            return 1e-4 * warmup(i, 500, 1e-3)
        return 1e-4 * 0.1 ** sum(i >= epoch * length for epoch in (27, 33))

    with opened(DETECTOR) as config:
        rates = learning_rates(config, length)
    assert len(rates) == 36 * length == 263_880
    assert rates[0].item() == pytest.approx(1e-7)
    assert rates[-1].item() == pytest.approx(1e-6)
    check_curve(rates, closed_form, 500, 27 * length, 33 * length)


def test_segmentor_learning_rate():
    def closed_form(i: int) -> float:
        if i < 1500:
            return 6e-5 * warmup(i, 1500, 1e-6)
        return 6e-5 * (1 - (i - 1500) / (160_000 - 1500 - 1))

    with opened(SEGMENTOR) as config:
        rates = learning_rates(config, epoch_length=1000)
    assert len(rates) == 160_000
    assert rates[0].item() == pytest.approx(6e-11)
    assert rates[-1].item() == pytest.approx(0, abs=1e-12)
    check_curve(rates, closed_form, 1500)


@pytest.mark.parametrize('name', CLASSIFIERS)
def test_classifier(name):
    with opened(name) as config:
        model = config.model
        assert model.backbone.arch == arch(name)
        assert model.backbone.drop_path_rate == {'tiny': 0.2, 'base': 0.5}[arch(name)]
        assert (model.data_preprocessor.mean, model.data_preprocessor.std) == (MEAN, STD)
        assert model.data_preprocessor.to_rgb
        assert model.head.loss.label_smooth_val == 0.1
        assert config.train_cfg.max_epochs == 300


def test_classifier_mixes_each_batch_one_way_or_the_other():
    with opened(CLASSIFIER) as config:
        assert plain(config.model.train_cfg.augments) == [
            dict(type='Mixup', alpha=0.8),
            dict(type='CutMix', alpha=1.0),
        ]
        with Uninitialized():
            mix = build_model(config).data_preprocessor.batch_augments
    # Each image has one value: mixup creates new values, cutmix pastes existing ones.
    images = torch.arange(1.0, 5).view(4, 1, 1, 1).repeat(1, 3, 64, 64)
    targets = torch.eye(4)
    kinds = dict(mixup=0, cutmix=0, neither=0)
    torch.manual_seed(0)
    np.random.seed(0)
    for _ in range(200):
        mixed, weights = mix(images.clone(), targets)
        shares = {tuple(sorted(row)) for row in weights.tolist() if max(row) < 1}
        assert len(shares) <= 1  # one share for the whole batch
        if mixed.equal(images):
            kinds['neither'] += 1
        else:
            kinds['cutmix' if mixed.equal(mixed.round()) else 'mixup'] += 1
    # Equal chances, within four standard deviations. One batch in 24 is mixed with itself.
    assert all(abs(kinds[kind] - 96) <= 28 for kind in ('mixup', 'cutmix')), kinds
    assert kinds['neither'] <= 20


def test_imagenet_pipelines():
    with opened(CLASSIFIER) as config:
        crop, flip, augment, erase = config.train_dataloader.dataset.pipeline[1:-1]
        resize, center = config.test_dataloader.dataset.pipeline[1:-1]
    assert (crop.type, crop.scale) == ('RandomResizedCrop', 224)
    assert (crop.backend, crop.interpolation) == ('pillow', 'bicubic')
    assert (flip.type, flip.prob, flip.direction) == ('RandomFlip', 0.5, 'horizontal')
    assert (augment.type, augment.policies) == ('RandAugment', 'timm_increasing')
    assert augment.num_policies == 2
    assert (augment.magnitude_level, augment.total_level, augment.magnitude_std) == (9, 10, 0.5)
    assert augment.hparams.interpolation == 'bicubic'
    assert (erase.type, erase.erase_prob, erase.mode) == ('RandomErasing', 0.25, 'rand')
    # Noise with mean 0 and std 1 after normalization; pipelines use BGR.
    assert (erase.fill_color, erase.fill_std) == (MEAN[::-1], STD[::-1])
    assert (resize.type, resize.scale, resize.edge) == ('ResizeEdge', 256, 'short')
    assert (resize.backend, resize.interpolation) == ('pillow', 'bicubic')
    assert (center.type, center.crop_size) == ('CenterCrop', 224)


@pytest.mark.parametrize('names', [CLASSIFIERS, DETECTORS, SEGMENTORS])
def test_all_models_of_a_task_see_the_same_data(names):
    def data(name: str) -> list:
        with opened(name) as config:
            loaders = [config.train_dataloader, config.val_dataloader, config.test_dataloader]
            return [loader.dataset for loader in loaders]

    first = data(names[0])
    assert all(data(name) == first for name in names[1:])


def shipped(package: ModuleType, name: str) -> Any:
    """Return the model of a config that is part of an OpenMMLab package."""
    configs = Path(package.__file__).parent / '.mim' / 'configs'
    return Config.fromfile(configs / '_base_' / 'models' / f'{name}.py').model


def check_backbone(backbone: dict, name: str, drop_path_rate: float) -> None:
    backbone = plain(backbone)
    pretrained = backbone.pop('init_cfg')
    # Released weights if there are any, otherwise those trained with the classifier's config.
    assert f'/{variant(name)}' in pretrained['checkpoint']
    assert (pretrained['type'], pretrained['prefix']) == ('Pretrained', 'backbone.')
    assert backbone.pop('mixer', 'static') == MIXERS[variant(name).rsplit('_', 1)[0]]
    assert backbone == dict(
        type='DWNet',
        arch=arch(name),
        out_indices=[0, 1, 2, 3],
        drop_path_rate=drop_path_rate,
        pad_to_window=True,
        norm_cfg=dict(type='SyncBN'),
    )


@pytest.mark.parametrize('name', DETECTORS)
def test_detector_is_mmdets_but_for_the_recipe(name):
    expected = shipped(mmdet, 'cascade-mask-rcnn_r50_fpn')
    expected.pop('backbone')
    expected.neck.in_channels = widths(name)
    for head in expected.roi_head.bbox_head:
        head.update(
            type='ConvFCBBoxHead',
            num_shared_convs=4,
            num_shared_fcs=1,
            conv_out_channels=256,
            fc_out_channels=1024,
            reg_class_agnostic=False,
            reg_decoded_bbox=True,
            norm_cfg=dict(type='SyncBN'),
        )
        head.loss_bbox = dict(type='GIoULoss', loss_weight=10.0)
    for extractor in (expected.roi_head.bbox_roi_extractor, expected.roi_head.mask_roi_extractor):
        extractor.type = 'Float32RoIExtractor'
    with opened(name) as config:
        model = config.model
    check_backbone(model.pop('backbone'), name, {'tiny': 0.2, 'base': 0.3}[arch(name)])
    assert plain(model) == plain(expected)


def test_detector_of_the_recipe():
    with opened(DETECTOR) as config:
        model = config.model
    assert (model.data_preprocessor.mean, model.data_preprocessor.std) == (MEAN, STD)
    assert model.data_preprocessor.bgr_to_rgb
    assert model.data_preprocessor.pad_size_divisor == 32
    assert (model.neck.out_channels, model.neck.num_outs) == (256, 5)
    assert model.roi_head.stage_loss_weights == [1, 0.5, 0.25]
    assert [head.bbox_coder.target_stds for head in model.roi_head.bbox_head] == [
        [0.1, 0.1, 0.2, 0.2],
        [0.05, 0.05, 0.1, 0.1],
        [0.033, 0.033, 0.067, 0.067],
    ]
    assert [stage.assigner.pos_iou_thr for stage in model.train_cfg.rcnn] == [0.5, 0.6, 0.7]
    assert (model.roi_head.mask_head.num_convs, model.roi_head.mask_head.in_channels) == (4, 256)
    assert model.train_cfg.rpn_proposal.max_per_img == 2000
    assert model.test_cfg.rpn.max_per_img == 1000
    assert model.test_cfg.rcnn.score_thr == 0.05
    assert model.test_cfg.rcnn.nms == dict(type='nms', iou_threshold=0.5)
    assert model.test_cfg.rcnn.max_per_img == 100


def test_coco_pipelines():
    with opened(DETECTOR) as config:
        flip, choice = config.train_dataloader.dataset.pipeline[2:-1]
        (resize,) = [step for step in config.test_pipeline if step.type == 'Resize']
        dataset = config.train_dataloader.dataset
    assert (flip.type, flip.prob) == ('RandomFlip', 0.5)
    assert choice.type == 'RandomChoice'
    assert 'prob' not in choice  # equal probabilities
    (only,), (smaller, crop, again) = choice.transforms
    assert only == again
    assert only.type == smaller.type == 'RandomChoiceResize'
    assert only.keep_ratio and smaller.keep_ratio
    assert only.scales == [(short, 1333) for short in range(480, 801, 32)]
    assert [min(scale) for scale in smaller.scales] == [400, 500, 600]
    assert (crop.type, crop.crop_type, crop.crop_size) == (
        'RandomCrop',
        'absolute_range',
        (384, 600),
    )
    assert crop.allow_negative_crop
    assert (resize.scale, resize.keep_ratio) == ((1333, 800), True)
    assert dataset.filter_cfg.filter_empty_gt


@pytest.mark.parametrize('name', SEGMENTORS)
def test_segmentor_is_mmsegs_but_for_the_recipe(name):
    expected = shipped(mmseg, 'upernet_swin')
    expected.pop('backbone')
    expected.pop('pretrained')
    expected.data_preprocessor.size = (512, 512)
    expected.decode_head.in_channels = widths(name)
    expected.auxiliary_head.in_channels = widths(name)[2]
    for head in (expected.decode_head, expected.auxiliary_head):
        head.num_classes = 150
        head.norm_cfg = dict(type='SyncBN')
    with opened(name) as config:
        model = config.model
    check_backbone(model.pop('backbone'), name, 0.3)
    assert plain(model) == plain(expected)


def test_segmentor_of_the_recipe():
    with opened(SEGMENTOR) as config:
        model = config.model
    decode, auxiliary = model.decode_head, model.auxiliary_head
    assert (model.data_preprocessor.mean, model.data_preprocessor.std) == (MEAN, STD)
    assert model.data_preprocessor.bgr_to_rgb
    assert (decode.type, decode.channels, decode.dropout_ratio) == ('UPerHead', 512, 0.1)
    assert (decode.pool_scales, decode.in_index) == ((1, 2, 3, 6), [0, 1, 2, 3])
    assert (auxiliary.type, auxiliary.channels, auxiliary.num_convs) == ('FCNHead', 256, 1)
    assert (auxiliary.in_index, auxiliary.loss_decode.loss_weight) == (2, 0.4)
    assert not decode.align_corners and not auxiliary.align_corners
    assert model.test_cfg.mode == 'whole'
    assert config.train_cfg.val_interval == config.default_hooks.checkpoint.interval == 16_000
    assert not config.default_hooks.checkpoint.by_epoch


def test_ade20k_pipelines():
    with opened(SEGMENTOR) as config:
        resize, crop, flip, distortion = config.train_dataloader.dataset.pipeline[2:-1]
        (test_resize,) = [step for step in config.test_pipeline if step.type == 'Resize']
    assert (resize.type, resize.scale, resize.keep_ratio) == ('RandomResize', (2048, 512), True)
    assert resize.ratio_range == (0.5, 2.0)
    assert (crop.type, crop.crop_size, crop.cat_max_ratio) == ('RandomCrop', (512, 512), 0.75)
    assert (flip.type, flip.prob) == ('RandomFlip', 0.5)
    assert distortion == dict(type='PhotoMetricDistortion')
    assert (test_resize.scale, test_resize.keep_ratio) == ((2048, 512), True)
