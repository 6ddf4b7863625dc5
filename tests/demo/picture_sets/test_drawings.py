import numpy as np
import pytest

from demo.picture_sets.drawings import FOLDERS, split_drawings


@pytest.fixture(scope='module')
def drawings(share):
    return split_drawings(share / 'openclipart/png')


def _contents(drawings):
    return {drawing.image.tobytes() for drawing in drawings}


def test_no_drawing_is_in_both_splits_and_each_class_is_in_both(drawings):
    assert not _contents(drawings['train']) & _contents(drawings['val'])
    for split, count in (('train', 6), ('val', 2)):
        labels = [drawing.label for drawing in drawings[split]]
        assert np.bincount(labels).tolist() == [count] * len(FOLDERS)


def test_what_is_too_small_framed_empty_a_twin_or_a_poster_is_left_out(drawings):
    every = drawings['train'] + drawings['val']
    assert len(every) == 8 * len(FOLDERS)
    colors = np.array([np.median(np.asarray(d.image)[d.mask], axis=0) for d in every])
    assert not (colors == (255, 0, 0, 255)).all(axis=1).any()


@pytest.mark.parametrize('side', [20, 48, 96.5])
def test_every_posed_drawing_has_the_size_asked_for(drawings, side):
    rng = np.random.default_rng(0)
    for drawing in drawings['train']:
        mask = drawing.posed(side, rng).mask
        assert max(mask.shape) == int(side)
        rows, columns = mask.any(axis=1), mask.any(axis=0)
        assert rows[[0, 1, -2, -1]].sum() >= 2
        assert columns[[0, 1, -2, -1]].sum() >= 2
