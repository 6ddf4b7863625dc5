import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import cam
import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from visualizing.models import see

from mmdwnet.apis.building import read_config
from mmdwnet.apis.inferencers import make_inferencer

from ...apis.folders import CONFIGS


@pytest.fixture
def grad_cam() -> None:
    pytest.importorskip('pytorch_grad_cam', reason='needs grad-cam: pip install grad-cam')


def test_a_missing_package_is_told(trained: Callable, images: Path, refusal, monkeypatch):
    monkeypatch.setitem(sys.modules, 'pytorch_grad_cam', None)
    told = refusal(cam.main, *trained(), images)
    assert told == 'this needs the package grad-cam: pip install grad-cam'


@pytest.mark.parametrize('task', ['classify', pytest.param('segment', marks=pytest.mark.slow)])
def test_command(grad_cam, trained: Callable, images: Path, tmp_path: Path, task: str):
    out = tmp_path / 'page.png'
    args = [*trained(task), str(images), '--limit', '2', '--out', str(out), '--device', 'cpu']
    assert cam.main(args) == 0
    assert Image.open(out).size[0] > 1000


def test_weights_are_of_the_class(grad_cam, trained: Callable, images: Path):
    """A head that reads one channel of the last map: where that is positive is what counts."""
    config, checkpoint = trained()
    inferencer = make_inferencer(read_config(config), checkpoint, 'cpu')
    model = inferencer.model
    weight = torch.zeros_like(model.head.fc.weight)
    weight[3, 5] = 1
    model.head.fc.weight.data = weight
    model.backbone.norm = torch.nn.Identity()
    (image,) = see(inferencer, Namespace(images=str(images / 'a.png'), limit=1))
    layer = model.backbone.layers[-1]
    maps = []
    with layer.register_forward_hook(lambda *args: maps.append(args[-1][0, 5])), torch.no_grad():
        model(image.inputs)
    ((_, heat, title),) = cam.explain(model, [image], layer, 'GradCAM', 3)
    expected = maps[0].clamp_min(0).numpy()
    small = cv2.resize(heat, expected.shape[::-1], interpolation=cv2.INTER_AREA)
    assert title.startswith('class three, score')
    assert (expected > 0).any() and (expected == 0).any()
    assert np.corrcoef(small.ravel(), expected.ravel())[0, 1] > 0.9


def test_bad_input(grad_cam, trained: Callable, images: Path, refusal: Callable):
    args = (*trained(), images)
    assert '--class ten: give a name or an index of' in refusal(cam.main, *args, '--class', 'ten')
    told = refusal(cam.main, *args, '--layer', 'backbone.layer4')
    assert told.startswith('--layer backbone.layer4: the model has backbone, backbone.patch_embed')
    assert 'gives no maps' in refusal(cam.main, *args, '--layer', 'head.fc')
    told = refusal(cam.main, CONFIGS['detect'], *args[1:])
    assert told.endswith('is of a detector: give a classifier or a segmentor')
