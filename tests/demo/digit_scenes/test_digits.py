import numpy as np
import pytest

from demo.digit_scenes.digits import labels, split_digits, stamp


def test_splits_share_no_digit_and_have_the_same_mix_of_classes():
    split = split_digits(3)
    train, val = split['train'], split['val']
    assert sorted([*train, *val]) == list(range(1797))
    assert len(val) == pytest.approx(0.2 * 1797, abs=1)
    share = np.bincount(labels()[val]) / np.bincount(labels())
    np.testing.assert_allclose(share, 0.2, atol=0.01)


def test_another_seed_gives_another_split():
    assert not np.array_equal(split_digits(0)['val'], split_digits(1)['val'])


@pytest.mark.parametrize('size', [12, 40, 90.5, 400])
def test_every_posed_digit_has_the_size_asked_for(size):
    rng = np.random.default_rng(0)
    for index in range(0, 1797, 7):
        posed = stamp(index, size, rng)
        assert posed.alpha.shape == posed.mask.shape
        assert 0.95 * size - 3 <= max(posed.mask.shape) <= size
        # The mask is what is more than half opaque, and fills its box.
        np.testing.assert_array_equal(posed.mask, posed.alpha > 0.5)
        assert posed.mask.any(axis=1)[[0, -1]].all()
        assert posed.mask.any(axis=0)[[0, -1]].all()
