"""One small set of digit scenes for all tests that look at it."""

import pytest

from demo.digit_scenes import DigitSceneOptions, make_digit_scenes


@pytest.fixture(scope='session')
def options():
    return DigitSceneOptions(
        cls_size=32,
        cls_every=10,
        cls_train_per_digit=1,
        cls_val_per_digit=2,
        scene_size=96,
        train_scenes=12,
        val_scenes=5,
        min_digit_size=20,
        max_digit_size=60,
    )


@pytest.fixture(scope='session')
def made(options, tmp_path_factory):
    return make_digit_scenes(tmp_path_factory.mktemp('made') / 'digits', options)
