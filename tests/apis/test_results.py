"""What is predicted for an image, as people read it, as JSON, and drawn."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

import mmdwnet
from mmdwnet.errors import UserError

from .folders import CONFIGS

WorkDir = Callable[..., Path]


def test_a_class(work_dir: WorkDir, images: Path) -> None:
    path = str(images / 'a.png')
    (result,) = mmdwnet.load(work_dir('classify'))(path)
    score = pytest.approx(np.exp(9) / (np.exp(9) + 9), rel=1e-5)
    assert (result.label, result.score, result.path) == ('three', score, path)
    assert result.scores.shape == (10,) and result.scores[3] == score
    assert str(result) == f'{path}: three 1.00'
    assert repr(result) == f'<Classification {path}: three 1.00>'
    assert json.loads(result.to_json()) == dict(
        path=path, label='three', score=score, scores=pytest.approx(result.scores.tolist())
    )
    assert result.data_sample.pred_label.tolist() == [3]


def test_objects(work_dir: WorkDir, images: Path) -> None:
    model = mmdwnet.load(work_dir('detect'))
    path = str(images / 'b.png')
    (result,) = model(path)
    score = pytest.approx(np.exp(9) / (np.exp(9) + 10), rel=1e-5)
    assert (result.labels, result.scores.tolist()) == (['four'], [score])
    np.testing.assert_allclose(result.boxes, [[0, 0, 96, 48]], atol=0.1)
    assert result.masks.shape == (1, 48, 96) and result.masks.dtype == bool and result.masks.any()
    assert str(result) == f'{path}: 1 four'
    found = json.loads(result.to_json())
    (each,) = found.pop('objects')
    assert found == dict(path=path)
    np.testing.assert_array_equal(coco.decode(each.pop('mask')).astype(bool), result.masks[0])
    assert each == dict(label='four', score=score, box=pytest.approx(result.boxes[0].tolist()))
    (nothing,) = model(path, score_thr=1.0)
    assert (nothing.labels, nothing.boxes.shape, nothing.masks.shape) == ([], (0, 4), (0, 48, 96))
    assert str(nothing) == f'{path}: nothing'
    assert json.loads(nothing.to_json())['objects'] == []
    assert len(nothing.data_sample.pred_instances) == 1


def test_regions(work_dir: WorkDir, images: Path) -> None:
    path = str(images / 'b.png')
    (result,) = mmdwnet.load(work_dir('segment'))(path)
    assert result.map.shape == (48, 96) and (result.map == 2).all()
    assert str(result) == f'{path}: one 100%'
    (region,) = json.loads(result.to_json())['regions']
    assert (region['label'], region['share']) == ('one', 1.0)
    assert coco.decode(region['mask']).all()


@pytest.mark.parametrize('task', CONFIGS)
def test_drawings(task: str, work_dir: WorkDir, images: Path, tmp_path: Path) -> None:
    model = mmdwnet.load(work_dir(task))
    # Room for text, and red above blue, which would show channels in the wrong order.
    picture = Image.new('RGB', (320, 240), (200, 0, 0))
    (result,) = model(picture)
    drawn = result.draw()
    assert drawn.size == picture.size
    pixels = np.asarray(drawn)
    assert (pixels != np.asarray(picture)).any()
    if task == 'classify':
        assert (pixels[-20:] == [200, 0, 0]).all()
    result.save(tmp_path / 'new' / 'drawn.png')
    saved = np.asarray(Image.open(tmp_path / 'new' / 'drawn.png'))
    if task == 'detect':  # where mmdet varies the colors
        assert saved.shape == pixels.shape
    else:
        np.testing.assert_array_equal(saved, pixels)
    result.save(tmp_path / 'drawn.jpg')
    assert Image.open(tmp_path / 'drawn.jpg').format == 'JPEG'
    with pytest.raises(UserError, match=r'drawn\.xyz cannot be written'):
        result.save(tmp_path / 'drawn.xyz')
    (small,) = model(images / 'a.png')
    assert small.draw().size == ((224, 224) if task == 'classify' else (64, 64))
