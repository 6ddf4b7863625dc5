import numpy as np

from demo.digit_scenes.grounds import ground


def test_grounds_are_textured_rgb_pictures_and_differ():
    rng = np.random.default_rng(0)
    drawn = [ground(48, split, rng) for split in ('train', 'val') for _ in range(20)]
    for picture in drawn:
        assert picture.shape == (48, 48, 3)
        assert picture.dtype == np.float32
        assert picture.min() >= 0
        assert picture.max() <= 255
        assert picture.std(axis=(0, 1)).max() > 1
    means = np.array([picture.mean(axis=(0, 1)) for picture in drawn])
    assert len(np.unique(means.round(), axis=0)) == len(drawn)
