"""The steps that go with an exported model prepare images as the test pipeline does."""

from pathlib import Path

import cv2
import numpy as np
import predict_onnx
import pytest
from mmengine.registry import TRANSFORMS, DefaultScope
from PIL import Image

from mmdwnet.deploy.exporting.steps import at_shape, common_shape, read_steps
from mmdwnet.errors import UserError

EDGE = dict(type='ResizeEdge', scale=40, edge='short', backend='pillow', interpolation='bicubic')
CROP = dict(type='CenterCrop', crop_size=(36, 30))
FIT = dict(type='Resize', scale=(80, 50), keep_ratio=True)
EXACT = dict(type='Resize', scale=(70, 30))


def picture(path: Path, size: tuple[int, int]) -> str:
    """Write a smooth picture, of height and width."""
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    file = str(path / 'picture.png')
    cv2.imwrite(file, cv2.GaussianBlur(noise, (0, 0), 2))
    return file


def prepared(path: str, steps: list[dict]) -> np.ndarray:
    """Prepare a picture, (H, W, 3), in BGR."""
    about = dict(steps=steps, rgb=False, normalize=True)
    with Image.open(path) as image:
        return predict_onnx.prepare(image, about)[0][0].transpose(1, 2, 0)


@pytest.mark.parametrize('size', [(60, 90), (97, 61), (30, 30)])
@pytest.mark.parametrize(
    ('scope', 'transforms', 'tolerance'),
    [
        ('mmpretrain', [EDGE, CROP], 0),
        ('mmpretrain', [{**EDGE, 'edge': 'long'}], 0),
        ('mmpretrain', [{**EXACT, 'backend': 'pillow'}], 0),
        # OpenCV rounds weights to 11 bits.
        ('mmdet', [FIT], 1),
        ('mmseg', [FIT], 1),
        ('mmdet', [EXACT], 1),
        ('mmseg', [], 0),
    ],
)
def test_as_the_pipeline(
    tmp_path: Path, size: tuple[int, int], scope: str, transforms: list[dict], tolerance: int
) -> None:
    path = picture(tmp_path, size)
    results = dict(img_path=path, img=cv2.imread(path), img_shape=size, ori_shape=size)
    with DefaultScope.overwrite_default_scope(scope):
        for transform in transforms:
            results = TRANSFORMS.build(transform)(results)
    found = prepared(path, read_steps([dict(type='LoadImageFromFile'), *transforms]))
    assert found.shape == results['img'].shape
    assert np.abs(found.astype(int) - results['img'].astype(int)).max() <= tolerance


def test_one_shape_for_all(tmp_path: Path) -> None:
    path = picture(tmp_path, (60, 90))
    fitted = prepared(path, at_shape(read_steps([FIT]), (64, 64), [9, 8, 7]))
    assert fitted.shape == (64, 64, 3)
    assert (fitted[43:] == [7, 8, 9]).all()  # below 64 x 43 pixels of the picture
    assert (fitted[:43] != [7, 8, 9]).any(axis=(1, 2)).all()
    cropped = at_shape(read_steps([EDGE, CROP]), (60, 72), [0, 0, 0])
    assert cropped == [dict(resize='short', size=80, filter='bicubic'), dict(crop=[60, 72])]
    assert at_shape(read_steps([EXACT]), (8, 9), [0, 0, 0]) == [
        dict(resize='exact', size=[8, 9], filter='points')
    ]
    assert common_shape(read_steps([EDGE, CROP])) == (30, 36)
    assert common_shape(read_steps([EXACT])) == (30, 70)


@pytest.mark.parametrize(
    ('transform', 'part'),
    [
        (dict(type='TenCrop', crop_size=9), 'TenCrop'),
        (dict(type='Resize', scale_factor=2.0), 'scale_factor'),
        ({**FIT, 'interpolation': 'area'}, "interpolation='area'"),
        ({**EDGE, 'edge': 'width'}, "'edge': 'width'"),
    ],
)
def test_what_it_cannot_do(transform: dict, part: str) -> None:
    with pytest.raises(UserError, match=part):
        read_steps([transform])


def test_images_of_different_shapes() -> None:
    with pytest.raises(UserError, match='--shape H W, or --dynamic'):
        common_shape(read_steps([FIT]))
