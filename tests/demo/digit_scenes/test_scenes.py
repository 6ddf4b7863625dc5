import cv2
import numpy as np
import pytest

from demo.digit_scenes.digits import split_digits, stamp
from demo.digit_scenes.options import DigitSceneOptions
from demo.digit_scenes.scenes import scene, single_digit


@pytest.fixture(scope='module')
def scenes():
    options = DigitSceneOptions()
    return [scene(options, 'train', index) for index in range(40)]


def test_scenes_have_one_digit_to_the_most(scenes):
    counts = {len(drawn.digits) for drawn in scenes}
    assert counts == set(range(1, DigitSceneOptions().max_digits + 1))


def test_masks_share_no_pixel_and_digits_do_overlap(scenes):
    for drawn in scenes:
        assert drawn.masks.shape == (len(drawn.digits), 160, 160)
        assert drawn.masks.sum(axis=0).max() == 1
    boxes_overlap = sum(_boxes(drawn.masks).sum(axis=0).max() > 1 for drawn in scenes)
    assert boxes_overlap > 10


def _boxes(masks):
    rows, columns = masks.any(axis=2), masks.any(axis=1)
    fill = np.maximum.accumulate
    between = [
        fill(side, axis=1) & fill(side[:, ::-1], axis=1)[:, ::-1] for side in (rows, columns)
    ]
    return between[0][:, :, None] & between[1][:, None, :]


def test_no_digit_is_mostly_hidden(scenes, monkeypatch):
    # What each digit covered when it was drawn, by index into the digits.
    areas = {}

    def remember(index, size, rng):
        posed = stamp(index, size, rng)
        areas.setdefault(index, []).append(posed.mask.sum())
        return posed

    monkeypatch.setattr('demo.digit_scenes.scenes.stamp', remember)
    hidden = 0
    for index in range(40):
        areas.clear()
        drawn = scene(DigitSceneOptions(), 'train', index)
        for digit, mask in zip(drawn.digits, drawn.masks, strict=True):
            visible = mask.sum() / np.array(areas[digit])
            assert visible.max() >= 0.9
            hidden += visible.max() < 1
    assert hidden > 5


def test_digits_stand_out_from_what_surrounds_them(scenes):
    for drawn in scenes:
        lab = cv2.cvtColor(drawn.image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
        everything = drawn.masks.any(axis=0)
        for mask in drawn.masks:
            inside = np.median(lab[cv2.erode(mask.astype(np.uint8), np.ones((3, 3))) > 0], axis=0)
            around = cv2.dilate(mask.astype(np.uint8), np.ones((9, 9))) > 0
            ground = lab[around & ~everything]
            if len(ground) > 50:
                assert np.median(np.linalg.norm(ground - inside, axis=1)) > 25


def test_a_picture_depends_on_seed_split_and_number_only():
    options = DigitSceneOptions()
    first = scene(options, 'train', 3)
    scene(options, 'train', 4)
    again = scene(DigitSceneOptions(train_scenes=7), 'train', 3)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.masks, again.masks)
    others = [
        scene(options, 'train', 4),
        scene(options, 'val', 3),
        scene(DigitSceneOptions(seed=1), 'train', 3),
    ]
    for other in others:
        assert not np.array_equal(first.image, other.image)

    digit = int(split_digits(0)['val'][0])
    single = single_digit(options, 'val', digit, 0)
    assert single.shape == (64, 64, 3)
    np.testing.assert_array_equal(single, single_digit(options, 'val', digit, 0))
    assert not np.array_equal(single, single_digit(options, 'val', digit, 1))


def test_digits_as_large_as_the_scene_fit():
    options = DigitSceneOptions(scene_size=100, min_digit_size=100, max_digit_size=100)
    for index in range(20):
        assert len(scene(options, 'val', index).digits) >= 1
