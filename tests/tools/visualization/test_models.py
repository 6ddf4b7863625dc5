from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from visualizing.models import see, spread

from mmdwnet.apis.building import read_config
from mmdwnet.apis.inferencers import make_inferencer


@pytest.mark.parametrize(
    'task', ['classify', 'detect', pytest.param('segment', marks=pytest.mark.slow)]
)
def test_images_are_as_in_the_test_of_their_model(trained: Callable, tmp_path: Path, task: str):
    config, checkpoint = trained(task)
    image = np.full((48, 96, 3), (200, 100, 0), np.uint8)  # blue, in OpenCV's order
    cv2.imwrite(str(tmp_path / 'blue.png'), image)
    inferencer = make_inferencer(read_config(config), checkpoint, 'cpu')
    shown, _ = see(inferencer, Namespace(images=[str(tmp_path / 'blue.png')] * 2, limit=9))
    assert shown.picture[0, 0].tolist() == [0, 100, 200]
    # The pipelines of detector and segmentor enlarge it to 160 pixels, and the detector's pads.
    sizes = {'classify': ((48, 96), (48, 96)), 'detect': ((80, 160), (96, 160))}
    picture, inputs = sizes.get(task, ((80, 160), (80, 160)))
    assert shown.picture.shape == (*picture, 3)
    assert shown.inputs.shape == (1, 3, *inputs)
    mean, std = (
        torch.tensor(value) for value in ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
    )
    expected = (torch.tensor([0.0, 100.0, 200.0]) - mean) / std
    torch.testing.assert_close(shown.inputs[0, :, 0, 0], expected)


def test_items_are_spread_from_the_first_to_the_last():
    assert spread('abcdefghi', 3) == ['a', 'e', 'i']
    assert spread('abc', 8) == 'abc'
