import math
from pathlib import Path

import mmdet
import pytest
from complexity import Complexity, Cost, measure
from mmengine.config import Config

from mmdwnet.errors import UserError

CONFIGS = Path(__file__).parents[3] / 'configs'
CLASSES = 10


def classifier(backbone: dict, channels: int, **others: object) -> Config:
    return Config(
        dict(
            default_scope='mmpretrain',
            model=dict(
                type='ImageClassifier',
                backbone=backbone,
                neck=dict(type='GlobalAveragePooling'),
                head=dict(type='LinearClsHead', in_channels=channels, num_classes=CLASSES),
            ),
            **others,
        )
    )


def kernel_predictor(mixer: str, channels: int, positions: int) -> int:
    """Return the multiply-adds of the layers that predict the kernels of a mixer."""
    hidden = channels // 4
    if mixer == 'static':
        return 0
    if mixer == 'dynamic':
        return channels * hidden + hidden * 49 * channels
    return positions * (channels * hidden + hidden * 49 * 32)


@pytest.mark.parametrize('mixer', ['static', 'dynamic', 'inhomogeneous'])
def test_classifier_as_the_paper_has_it(mixer: str) -> None:
    depths = (1, 2, 1, 1)
    cfg = classifier(
        dict(type='DWNet', arch=dict(embed_dims=32, depths=depths), mixer=mixer), channels=256
    )
    height, width = 96, 160
    counted = measure(cfg, (height, width))
    assert counted.shape == (height, width)

    expected = height * width * 3 * 32 + 256 * CLASSES  # patch embedding and head
    for i, depth in enumerate(depths):
        channels = 32 * 2**i
        positions = height * width // 4 ** (i + 2)
        product = 49 * channels * positions + kernel_predictor(mixer, channels, positions)
        mixing = product + 2 * channels**2 * positions
        feed_forward = 2 * 4 * channels**2 * positions
        merging = 8 * channels**2 * positions // 4 if i < 3 else 0
        stage = f'backbone.layers.{i}'
        assert multiply_adds(counted, f'{stage}.blocks.0.attn2conv.conv') == product
        assert multiply_adds(counted, f'{stage}.blocks.0.attn2conv') == mixing
        assert multiply_adds(counted, f'{stage}.blocks.0') == mixing + feed_forward
        # Called by the backbone, not by the stage.
        assert multiply_adds(counted, stage) == depth * (mixing + feed_forward) + merging
        expected += depth * (mixing + feed_forward) + merging
    assert counted.total.multiply_adds == expected
    assert multiply_adds(counted, 'backbone') == expected - 256 * CLASSES


def multiply_adds(counted: Complexity, name: str) -> int:
    return counted.modules[name].multiply_adds


def test_padding_to_windows_is_counted() -> None:
    arch = dict(embed_dims=32, depths=(1, 1, 1, 1))
    cfg = classifier(dict(type='DWNet', arch=arch, pad_to_window=True), channels=256)
    counted = measure(cfg, (64, 96))  # maps of 16 x 24, padded to 21 x 28
    mixing = multiply_adds(counted, 'backbone.layers.0.blocks.0.attn2conv')
    assert mixing == 21 * 28 * (2 * 32**2 + 49 * 32)


def test_swin_mlp() -> None:
    arch = dict(embed_dims=24, depths=(2, 1, 1, 1), num_heads=(3, 3, 3, 3), window_size=4)
    counted = measure(classifier(dict(type='SwinMLP', arch=arch), channels=192), (128, 128))
    # A 16 x 16 matrix for the positions of each window; a shift adds a row and a column to the
    # 8 x 8 windows.
    for block, windows in ((0, 8 * 8), (1, 9 * 9)):
        name = f'backbone.layers.0.blocks.{block}.spatial_mlp'
        assert multiply_adds(counted, name) == windows * 24 * 16 * 16
    assert multiply_adds(counted, 'backbone.layers.0.blocks.0.mlp') == 32 * 32 * 8 * 24**2


def test_parameters() -> None:
    cfg = classifier(dict(type='DWNet', arch='nano'), channels=256)
    modules = measure(cfg).modules
    assert modules['head'] == Cost(256 * CLASSES + CLASSES, 256 * CLASSES)
    assert modules['backbone.patch_embed'].parameters == 32 * 48 + 32 + 2 * 32
    assert modules[''].parameters == sum(modules[part].parameters for part in ('backbone', 'head'))


def box_heads(convs: int, linear: int) -> int:
    """Return the multiply-adds of a box head per region: 3 x 3 convolutions, linear layers."""
    return convs * 49 * 9 * 256**2 + linear + 1024 * (81 + 4 * 80)


MASK_HEAD = 4 * 196 * 9 * 256**2 + 784 * 256**2 + 784 * 256 * 80


def test_cascade_counts_all_stages() -> None:
    cfg = Config.fromfile(CONFIGS / 'det' / 'cascade_mask_rcnn_dwnet_tiny_3x_coco.py')
    counted = measure(cfg)
    assert counted.shape == (800, 1280)
    for stage in range(3):
        box_head = box_heads(convs=4, linear=49 * 256 * 1024)
        assert multiply_adds(counted, f'roi_head.bbox_head.{stage}') == 1000 * box_head
        assert multiply_adds(counted, f'roi_head.mask_head.{stage}') == 100 * MASK_HEAD
    positions = sum(math.ceil(800 / s) * math.ceil(1280 / s) for s in (4, 8, 16, 32, 64))
    rpn = positions * (9 * 256**2 + 256 * 3 * (1 + 4))
    assert multiply_adds(counted, 'rpn_head') == rpn
    parts = ('backbone', 'neck', 'rpn_head', 'roi_head')
    assert counted.total.multiply_adds == sum(multiply_adds(counted, part) for part in parts)


def test_detector_with_two_stages() -> None:
    cfg = Config.fromfile(CONFIGS / 'custom' / 'mask_rcnn_dwnet_tiny_fpn_1x_coco.py')
    counted = measure(cfg, (64, 64))
    box_head = box_heads(convs=0, linear=49 * 256 * 1024 + 1024**2)
    assert multiply_adds(counted, 'roi_head') == 1000 * box_head + 100 * MASK_HEAD


def test_detector_with_one_stage() -> None:
    cfg = Config.fromfile(CONFIGS / 'custom' / 'retinanet_dwnet_tiny_fpn_1x_coco.py')
    positions = sum(math.ceil(64 / s) * math.ceil(96 / s) for s in (8, 16, 32, 64, 128))
    head = positions * (2 * 4 * 9 * 256**2 + 9 * 256 * 9 * (80 + 4))
    assert multiply_adds(measure(cfg, (64, 96)), 'bbox_head') == head


def test_segmentor_is_counted_as_in_a_test() -> None:
    cfg = Config.fromfile(CONFIGS / 'seg' / 'upernet_dwnet_tiny_160k_ade20k.py')
    modules = measure(cfg).modules
    # Used only in training: a 3 x 3 convolution, a norm, and a convolution to the classes.
    auxiliary = Cost(9 * 384 * 256 + 2 * 256 + 256 * 150 + 150, 0)
    assert modules['auxiliary_head'] == auxiliary
    assert modules['decode_head.conv_seg'].multiply_adds == 128 * 512 * 512 * 150
    total = modules['backbone'].multiply_adds + modules['decode_head'].multiply_adds
    assert modules[''].multiply_adds == total


@pytest.mark.parametrize(
    ('crop', 'shape'), [(64, (64, 64)), ((96, 32), (32, 96)), (None, (224, 224))]
)
def test_classifiers_are_counted_at_their_crop(
    crop: int | tuple[int, int] | None, shape: tuple[int, int]
) -> None:
    steps = [dict(type='CenterCrop', crop_size=crop)] if crop else []
    loader = dict(dataset=dict(pipeline=[dict(type='LoadImageFromFile'), *steps]))
    cfg = classifier(dict(type='DWNet', arch='nano'), 256, test_dataloader=loader)
    assert measure(cfg).shape == shape


@pytest.mark.parametrize('shape', [(0, 224), (224, -1), (10**9, 224)])
def test_no_such_images(shape: tuple[int, int]) -> None:
    cfg = classifier(dict(type='DWNet', arch='nano'), 256)
    with pytest.raises(UserError, match=f'no images of {shape[0]} x {shape[1]} pixels'):
        measure(cfg, shape)


def test_images_that_a_model_does_not_take() -> None:
    cfg = Config(
        dict(
            default_scope='mmpretrain',
            model=dict(
                type='ImageClassifier',
                backbone=dict(type='VGG', depth=11, num_classes=CLASSES),
                head=dict(type='ClsHead'),
            ),
        )
    )
    assert measure(cfg).total.multiply_adds > 7e9
    with pytest.raises(UserError, match='does not take images of 100 x 100 pixels'):
        measure(cfg, (100, 100))


@pytest.mark.parametrize(
    ('method', 'name'),
    [('DETR', 'detr_r50_8xb2-150e_coco'), ('Mask2Former', 'mask2former_r50_8xb2-lsj-50e_coco')],
)
def test_other_detectors_are_refused(method: str, name: str) -> None:
    configs = Path(mmdet.__file__).parent / '.mim' / 'configs'
    cfg = Config.fromfile(configs / method.lower() / f'{name}.py')
    with pytest.raises(UserError, match=f'^{method} is a detector of neither one nor two stages'):
        measure(cfg)
