from collections.abc import Callable
from pathlib import Path

import browse
import numpy as np
import pytest
from mmengine.runner import set_random_seed
from PIL import Image

from mmdwnet.apis.building import read_config

from ...cli.odd_data import CONFIG, KINDS, make


def on_data(task: str, root: Path) -> dict[str, str]:
    return {'train_dataloader.dataset.data_root': str(root)}


@pytest.mark.parametrize('task', ['cls', 'det', 'seg'])
def test_samples_are_drawn_with_their_annotations(tmp_path: Path, task: str):
    make(tmp_path, task, [])
    cfg = read_config(CONFIG[task], on_data(task, tmp_path))
    pictures = browse.draw_samples(cfg, 'train', number=4, repeat=1)
    assert len(pictures) == 4
    if task == 'cls':
        # The label is written onto the enlarged image, in white on black.
        assert pictures[0].shape == (224, 224, 3)
        corner = pictures[0][4:16, 4:200].astype(int)
        assert corner.min() < 60
        assert corner.max() > 240
    elif task == 'det':
        picture = pictures[0].astype(int)
        left, right = (x * picture.shape[1] // 64 for x in (8, 32))
        middle = 20 * picture.shape[0] // 48
        first = (220, 20, 60)  # COCO's color of its first class
        for x in (left, right):
            around = picture[middle, x - 2 : x + 3]
            assert np.abs(around - first).sum(1).min() < 100
    else:
        # All pixels are of the class `ground`, whose dark gray covers the noise.
        assert np.abs(pictures[0].mean((0, 1)) - (70, 76, 84)).max() < 30
        assert pictures[0].std((0, 1)).max() < 30


def test_a_sample_is_augmented_anew_each_time_and_the_same_by_seed(tmp_path: Path):
    make(tmp_path, 'cls', [])
    cfg = read_config(CONFIG['cls'], on_data('cls', tmp_path))
    drawn = []
    for _ in range(2):
        set_random_seed(7)
        drawn.append(browse.draw_samples(cfg, 'train', number=2, repeat=2))
    one, again, other, _ = drawn[0]
    assert (one != again).any()
    assert (one != other).any()
    assert all((a == b).all() for a, b in zip(*drawn, strict=True))


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture):
    make(tmp_path, 'cls', [])
    root = f'val_dataloader.dataset.data_root={tmp_path}'
    out = tmp_path / 'page.png'
    args = [CONFIG['cls'], '--split', 'val', '--number', '3', '--out', str(out)]
    assert browse.main([*args, '--cfg-options', root]) == 0
    assert str(out) in capsys.readouterr().out
    assert Image.open(out).size == (640, 640)


def test_bad_input(tmp_path: Path, refusal: Callable):
    root = f'train_dataloader.dataset.data_root={tmp_path / "data"}'
    args = (CONFIG['cls'], '--out', tmp_path / 'page.png', '--cfg-options', root)
    assert 'the train data are not there' in refusal(browse.main, *args)
    make(tmp_path / 'data', 'cls', [kind for kind in KINDS['cls'] if kind.name == 'empty'])
    told = refusal(browse.main, *args)
    assert told.endswith('train/0/empty.jpg is empty: replace it, or leave it out')
    assert '--number 0: give 1' in refusal(browse.main, *args[:3], '--number', 0)
    assert 'no config at no.py' in refusal(browse.main, 'no.py')
    told = refusal(browse.main, *args, 'train_dataloader=None')
    assert 'has no train_dataloader' in told
