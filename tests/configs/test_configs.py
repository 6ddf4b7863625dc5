import copy
import math
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, MODELS, PARAM_SCHEDULERS, VISUALIZERS, DefaultScope
from mmengine.runner import Runner
from mmengine.structures import InstanceData, PixelData

import mmdwnet  # noqa: F401  (first: mmdet needs its operators)

CONFIGS = Path(__file__).parents[2] / 'configs'
CLASSIFIER = 'cls/dwnet_tiny.py'
DETECTOR = 'det/cascade_mask_rcnn_dwnet_tiny_3x_coco.py'
SEGMENTOR = 'seg/upernet_dwnet_tiny_160k_ade20k.py'
PAPER = (CLASSIFIER, DETECTOR, SEGMENTOR)
CUSTOM = (
    'custom/mask_rcnn_dwnet_tiny_fpn_1x_coco.py',
    'custom/retinanet_dwnet_tiny_fpn_1x_coco.py',
    'custom/semantic_fpn_dwnet_tiny_80k_ade20k.py',
)
SIZE = 64


@contextmanager
def opened(name: str):
    """A config, with its library as the default scope, as a Runner has it."""
    config = Config.fromfile(CONFIGS / name)
    with DefaultScope.overwrite_default_scope(config.default_scope):
        yield config


def build_model(config: Config) -> torch.nn.Module:
    return revert_sync_batchnorm(MODELS.build(config.model))


def lighten(config: Config) -> None:
    """Cut what a step costs on small images, and no layer of the model."""
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


@pytest.mark.parametrize('name', PAPER + CUSTOM)
def test_takes_a_training_and_a_test_step(name):
    torch.manual_seed(0)
    with opened(name) as config:
        lighten(config)
        model = build_model(config)
        model.init_weights()
        model.train()
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

        model.eval()
        results = model.test_step(batch(config))
        assert len(results) == 2
        for result in results:
            check_result(config, result)


@pytest.mark.parametrize(
    ('name', 'millions'),
    [(CLASSIFIER, 24.172744), (DETECTOR, 82), (SEGMENTOR, 56)],
)
def test_has_as_many_parameters_as_published(name, millions):
    with opened(name) as config:
        count = sum(parameter.numel() for parameter in build_model(config).parameters())
    digits = 6 if isinstance(millions, float) else 0
    assert round(count / 1e6, digits) == millions


def without_decay(config: Config) -> tuple[set[str], torch.nn.Module]:
    """Names of the parameters that the config's optimizer does not decay."""
    model = build_model(config)
    optimizer = build_optim_wrapper(model, config.optim_wrapper).optimizer
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decays = {
        names[id(parameter)]: group['weight_decay']
        for group in optimizer.param_groups
        for parameter in group['params']
    }
    assert decays.keys() == set(names.values())
    assert set(decays.values()) == {0, config.optim_wrapper.optimizer.weight_decay}
    return {name for name, decay in decays.items() if decay == 0}, model


def test_classifier_decays_matrices_and_kernels_only():
    with opened(CLASSIFIER) as config:
        names, model = without_decay(config)
    assert names == {name for name, value in model.named_parameters() if value.ndim == 1}
    block = 'backbone.layers.0.blocks.0'
    assert {f'{block}.attn2conv.bn0.weight', f'{block}.attn2conv.conv.bias'} <= names
    assert {f'{block}.mlp.fc1.bias', 'backbone.norm.weight', 'head.fc.bias'} <= names


@pytest.mark.parametrize('name', PAPER[1:])
def test_dense_models_decay_all_but_the_authors_norms(name):
    norms = [
        'patch_embed.norm',
        *(f'layers.{i}.downsample.norm' for i in range(3)),
        *(f'norm{i}' for i in range(4)),
    ]
    with opened(name) as config:
        names, _ = without_decay(config)
    assert names == {f'backbone.{n}.{kind}' for n in norms for kind in ('weight', 'bias')}


def learning_rates(config: Config, epoch_length: int) -> list[float]:
    """The learning rate of each iteration, stepped as mmengine's ParamSchedulerHook does."""
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
    optimizer.step()  # torch warns of a scheduler that goes first
    rates = []
    for iteration in range(total):
        rates.append(optimizer.param_groups[0]['lr'])
        for scheduler in by_iteration:
            scheduler.step()
        if (iteration + 1) % epoch_length == 0:
            for scheduler in by_epoch:
                scheduler.step()
    return rates


def warmup(iteration: int, length: int, factor: float) -> float:
    return factor + (1 - factor) * iteration / (length - 1)


def test_classifier_learning_rate():
    length = 10
    start, end = 20 * length, 300 * length

    def closed_form(i: int) -> float:
        if i < start:
            return 1e-3 * warmup(i, start, 1e-3)
        cosine = math.cos(math.pi * (i - start) / (end - start))
        return 1e-5 + (1e-3 - 1e-5) * (1 + cosine) / 2

    with opened(CLASSIFIER) as config:
        rates = learning_rates(config, length)
    assert len(rates) == end
    assert rates[0] == pytest.approx(1e-6)
    assert rates[start - 1] == rates[start] == pytest.approx(1e-3)
    assert rates[-1] == pytest.approx(1e-5, rel=1e-3)
    assert rates == pytest.approx([closed_form(i) for i in range(end)], rel=1e-6)


def test_detector_learning_rate():
    length = 600

    def closed_form(i: int) -> float:
        if i < 500:
            return 1e-4 * warmup(i, 500, 1e-3)
        return 1e-4 * 0.1 ** sum(i >= epoch * length for epoch in (27, 33))

    with opened(DETECTOR) as config:
        rates = learning_rates(config, length)
    assert len(rates) == 36 * length
    assert rates[0] == pytest.approx(1e-7)
    assert rates[27 * length - 1 : 27 * length + 1] == pytest.approx([1e-4, 1e-5])
    assert rates[33 * length - 1 : 33 * length + 1] == pytest.approx([1e-5, 1e-6])
    assert rates == pytest.approx([closed_form(i) for i in range(36 * length)], rel=1e-6)


def test_segmentor_learning_rate():
    def closed_form(i: int) -> float:
        if i < 1500:
            return 6e-5 * warmup(i, 1500, 1e-6)
        return 6e-5 * (1 - (i - 1500) / (160000 - 1500 - 1))

    with opened(SEGMENTOR) as config:
        rates = learning_rates(config, epoch_length=1000)
    assert len(rates) == 160000
    assert rates[0] == pytest.approx(6e-11)
    assert rates[1499] == rates[1500] == pytest.approx(6e-5)
    checked = [*range(0, 160000, 1000), 1499, 159998, 159999]
    # mmengine multiplies one step after another: rounding errors add up over 160,000 of them.
    assert [rates[i] for i in checked] == pytest.approx(
        [closed_form(i) for i in checked], rel=1e-5, abs=1e-12
    )


@pytest.mark.parametrize(
    ('name', 'lr', 'decay', 'batch_size'),
    [(CLASSIFIER, 1e-3, 0.05, 1024), (DETECTOR, 1e-4, 0.05, 16), (SEGMENTOR, 6e-5, 0.01, 16)],
)
def test_optimizer_is_the_papers(name, lr, decay, batch_size):
    with opened(name) as config:
        model = torch.nn.Linear(1, 1)
        optim_wrapper = build_optim_wrapper(model, config.optim_wrapper)
    defaults = optim_wrapper.optimizer.defaults
    assert isinstance(optim_wrapper.optimizer, torch.optim.AdamW)
    assert (defaults['lr'], defaults['weight_decay']) == (lr, decay)
    assert (tuple(defaults['betas']), defaults['eps']) == ((0.9, 0.999), 1e-8)
    assert optim_wrapper.clip_grad_kwargs == (dict(max_norm=5.0) if name == CLASSIFIER else None)
    assert 8 * config.train_dataloader.batch_size == batch_size
    assert config.auto_scale_lr.base_batch_size == batch_size


def first_batch(dataloader: dict, data_root: Path, pipeline: list | None = None) -> dict:
    """A batch that a config's data loader reads from another root, in this process."""
    dataloader = copy.deepcopy(dataloader)
    dataloader.update(num_workers=0, persistent_workers=False, batch_size=1)
    dataloader.dataset.data_root = str(data_root)
    if pipeline is not None:
        dataloader.dataset.pipeline = pipeline
    return next(iter(Runner.build_dataloader(dataloader, seed=0)))


def test_imagenet_is_read(imagenet):
    with opened(CLASSIFIER) as config:
        for loader in (config.train_dataloader, config.test_dataloader):
            data = first_batch(loader, imagenet)
            assert data['inputs'].shape == (1, 3, 224, 224)
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


@pytest.mark.parametrize('name', PAPER + CUSTOM)
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


@pytest.mark.parametrize('name', PAPER + CUSTOM)
def test_the_copy_in_a_work_dir_says_the_same(name, tmp_path):
    with opened(name) as config:
        config.dump(tmp_path / 'copy.py')
    assert Config.fromfile(tmp_path / 'copy.py').to_dict() == config.to_dict()
