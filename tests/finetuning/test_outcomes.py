import base64
import tracemalloc
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .samples import classified, detected, outcomes, segmented, write_image

BOX, FAR = (4, 4, 24, 24), (40, 20, 60, 40)


def picture(text: str) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(base64.b64decode(text)))).astype(int)


def near(color: np.ndarray, other: tuple[int, int, int]) -> bool:
    return bool(np.abs(color - other).max() < 12)


def test_classified_images_are_counted_and_the_worst_come_first(tmp_path: Path) -> None:
    path = write_image(tmp_path)
    seen = outcomes(
        tmp_path / 'outcomes.json',
        [
            classified(path, 0, (0.9, 0.1)),
            classified(path, 0, (0.2, 0.8)),
            classified(path, 1, (0.6, 0.4)),
        ],
        ('cat', 'dog'),
    )
    assert (seen['task'], seen['images'], seen['classes']) == ('classify', 3, ['cat', 'dog'])
    assert seen['confusion'] == [[1, 1], [1, 0]]
    assert [entry['labels'] for entry in seen['worst']] == [[0, 1], [1, 0], [0, 0]]
    assert [entry['score'] for entry in seen['worst']] == pytest.approx([0.8, 0.6, 0.9])
    assert seen['others'] == []  # they are shown already
    # An image of 64 x 48 is enlarged by a whole number, to at most 160.
    assert picture(seen['worst'][0]['pictures'][0]).shape == (96, 128, 3)


def test_large_images_are_shown_small(tmp_path: Path) -> None:
    path = write_image(tmp_path, size=(2000, 500))
    seen = outcomes(tmp_path / 'o.json', [classified(path, 0, (0.9, 0.1))], 'ab')
    assert picture(seen['worst'][0]['pictures'][0]).shape == (40, 160, 3)


@pytest.mark.parametrize(
    ('truth', 'found', 'confusion', 'quality'),
    [
        ([(0, BOX)], [(0, BOX, 0.9)], {(0, 0): 1}, 1),
        ([(0, BOX)], [(1, BOX, 0.9)], {(0, 1): 1}, 0),
        ([(0, BOX)], [], {(0, 2): 1}, 0),
        ([], [(1, BOX, 0.9)], {(2, 1): 1}, 0),
        ([], [], {}, 1),
        ([(0, BOX)], [(0, BOX, 0.2)], {(0, 2): 1}, 0),  # not sure enough
        ([(0, BOX)], [(0, FAR, 0.9)], {(0, 2): 1, (2, 0): 1}, 0),
        ([(0, BOX)], [(1, BOX, 0.9), (0, BOX, 0.4)], {(0, 0): 1, (2, 1): 1}, 2 / 3),
        ([(0, BOX)], [(0, BOX, 0.9), (0, BOX, 0.8)], {(0, 0): 1, (2, 0): 1}, 2 / 3),
    ],
    ids=['right', 'other class', 'missed', 'nothing there', 'empty', 'unsure', 'elsewhere',
         'right class first', 'twice'],
)  # fmt: skip
def test_detections_match_objects(
    truth: list, found: list, confusion: dict, quality: float, tmp_path: Path
) -> None:
    sample = detected(write_image(tmp_path), truth, found)
    seen = outcomes(tmp_path / 'o.json', [sample], ('cat', 'dog'))
    counted = np.array(seen['confusion'])
    assert {pair: counted[pair] for pair in zip(*counted.nonzero(), strict=True)} == confusion
    assert seen['worst'][0]['quality'] == pytest.approx(quality)


@pytest.mark.parametrize('masks', [False, True])
def test_objects_are_drawn_where_they_are(masks: bool, tmp_path: Path) -> None:
    sample = detected(write_image(tmp_path), [(0, BOX)], [(1, FAR, 0.9)], masks)
    seen = outcomes(tmp_path / 'o.json', [sample], ('cat', 'dog'))
    entry = seen['worst'][0]
    assert entry['labels'] == [[0], [1]]
    for text, (x1, y1, x2, y2) in zip(entry['pictures'], (BOX, FAR), strict=True):
        changed = np.abs(picture(text) - (90, 120, 150)).max(-1) > 40
        assert changed.shape == (240, 320)  # enlarged by 5
        ys, xs = changed.nonzero()
        assert np.allclose(
            [xs.min(), ys.min(), xs.max(), ys.max()], np.multiply((x1, y1, x2, y2), 5), atol=4
        )
        assert changed[5 * (y1 + y2) // 2, 5 * (x1 + x2) // 2] == masks


def test_pixels_are_counted_where_they_have_a_class(tmp_path: Path) -> None:
    truth = [[0, 0, 1, 255], [0, 0, 1, 255]]
    predicted = [[0, 0, 1, 1], [0, 1, 1, 1]]
    path = write_image(tmp_path, size=(4, 2))
    seen = outcomes(tmp_path / 'o.json', [segmented(path, truth, predicted)], ('land', 'sea'))
    assert seen['confusion'] == [[3, 1], [0, 2]]
    entry = seen['worst'][0]
    assert entry['quality'] == pytest.approx((3 / 4 + 2 / 3) / 2)
    assert entry['labels'] == [[0, 1], [0, 1]]
    true, drawn = map(picture, entry['pictures'])
    assert near(true[40, 290], (90, 120, 150)) and not near(drawn[40, 290], (90, 120, 150))


def test_an_image_without_labeled_pixels_is_not_bad(tmp_path: Path) -> None:
    path = write_image(tmp_path, size=(4, 2))
    sample = segmented(path, np.full((2, 4), 255), np.zeros((2, 4)))
    seen = outcomes(tmp_path / 'o.json', [sample], ('land', 'sea'))
    assert seen['worst'][0]['quality'] == 1
    assert seen['confusion'] == [[0, 0], [0, 0]]


def test_of_many_images_the_worst_and_some_others_are_kept(tmp_path: Path) -> None:
    """However many there are, and the same ones each time."""
    path = write_image(tmp_path, size=(512, 512))
    scores = np.random.default_rng(0).permutation(300) / 300
    samples = [classified(path, 0, (score, 1 - score)) for score in scores]
    options = dict(worst=5, others=3)
    seen = outcomes(tmp_path / 'o.json', samples, ('cat', 'dog'), **options)
    assert [entry['quality'] for entry in seen['worst']] == pytest.approx(np.arange(5) / 300)
    assert len(seen['others']) <= 3
    assert {entry['number'] for entry in seen['others']} != {0, 1, 2}
    assert outcomes(tmp_path / 'again.json', samples, ('cat', 'dog'), **options) == seen


def test_memory_does_not_grow_with_the_images(tmp_path: Path) -> None:
    path = write_image(tmp_path, size=(256, 256))
    maps = np.random.default_rng(0).integers(0, 2, (2, 256, 256))

    def peak(count: int) -> int:
        samples = (segmented(path, maps[0], maps[1]) for _ in range(count))
        tracemalloc.start()
        outcomes(tmp_path / 'o.json', samples, ('land', 'sea'), worst=3, others=2)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    # The maps of 40 images alone take 5 MB.
    assert peak(60) < peak(20) + 1e6
