import pytest

from demo.digit_scenes import CLASSES, PALETTE, SEG_CLASSES, DigitSceneOptions
from mmdwnet.errors import UserError


def test_ten_digits_and_the_ground_have_a_color_each():
    assert len(CLASSES) == 10
    assert SEG_CLASSES[0] == 'ground'
    assert SEG_CLASSES[1:] == CLASSES
    assert len(set(PALETTE)) == len(SEG_CLASSES)


@pytest.mark.parametrize(
    ('wrong', 'sentence'),
    [
        ({'train_scenes': 0}, 'train_scenes is 0; it must be at least 1'),
        ({'cls_val_per_digit': -2}, 'cls_val_per_digit is -2; it must be at least 1'),
        ({'cls_size': 8}, 'cls_size is 8; it must be at least 16'),
        ({'seed': -1}, 'seed is -1'),
        ({'seed': 2**32}, 'below 2\\*\\*32'),
        ({'min_digit_size': 95}, 'min_digit_size 95 is above max_digit_size 80'),
        ({'scene_size': 72}, 'max_digit_size 80 does not fit into scene_size 72'),
    ],
)
def test_impossible_options_are_refused(wrong, sentence):
    with pytest.raises(UserError, match=sentence):
        DigitSceneOptions(**wrong)
