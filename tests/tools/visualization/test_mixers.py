"""The kernels that are drawn are those that the network uses, and the fields are where it looks."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import mixers
import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image
from scipy import ndimage
from torch import Tensor, nn
from visualizing import kernel_pages
from visualizing.kernels import (
    cells_of,
    differences,
    find_backbone,
    find_mixers,
    most_different,
    predict,
)
from visualizing.models import Shown
from visualizing.pages import tile
from visualizing.receptive import reach_of, receptive_fields, support

from mmdwnet.errors import UserError

from ...models.nano import images as noise
from ...models.nano import nano

POINTS = [(0.5, 0.5), (0.1, 0.9)]


def shown(*seeds: int) -> list[Shown]:
    """Images of noise, the same ones for the same seeds."""
    drawn = []
    for seed in seeds:
        inputs = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(seed))
        drawn.append(Shown(np.zeros((60, 50, 3), np.uint8), inputs))
    return drawn


def grids(figure) -> list[np.ndarray]:
    """The grids of kernels on a page, without pictures; gaps are NaN."""
    arrays = [image.get_array() for axes in figure.axes for image in axes.images]
    return [array.filled(np.nan) for array in arrays if array.ndim == 2]


def panels(grid: np.ndarray) -> int:
    return ndimage.label(np.isfinite(grid))[1]


def test_each_static_kernel_has_its_panel():
    backbone = nano('static').eval()
    places = [place for place in find_mixers(backbone) if place.stage == 3]
    drawn = grids(kernel_pages.static_page(places))
    assert [panels(grid) for grid in drawn] == [128, 128]
    weight = backbone.layers[2].blocks[1].attn2conv.conv.weight.detach().numpy()[:, 0]
    np.testing.assert_array_equal(drawn[1][:7, :7], weight[0])
    np.testing.assert_array_equal(drawn[1][-7:, -7:], weight[127])


def test_a_grid_that_is_not_full():
    grid = tile(torch.ones(5, 3, 3), 3)
    assert grid.shape == (7, 11)
    assert panels(grid) == 5


@pytest.mark.parametrize('kind', ['dynamic', 'inhomogeneous'])
def test_predicted_kernels_are_those_that_the_mixer_uses(kind: str):
    backbone, image = nano(kind).eval(), shown(0)[0]
    place = find_mixers(backbone)[1]  # of the second stage
    seen: list[Tensor] = []
    place.mixer.register_forward_hook(lambda module, given, out: seen.extend([given[0], out]))
    (kernels,) = predict(backbone, [place], [image], POINTS)
    x, out = seen
    assert kernels.shape == (1, 2 if kind == 'inhomogeneous' else 1, kernels.shape[2], 7, 7)
    cells = cells_of(image, 8, POINTS)
    assert cells == [(30 // 8, 25 // 8), (54 // 8, 5 // 8)]
    for i, (row, column) in enumerate(cells):
        around = F.pad(x, (3, 3, 3, 3))[0, :, row : row + 7, column : column + 7]
        kernel = kernels[0, i if kind == 'inhomogeneous' else 0]
        kernel = kernel.repeat_interleave(len(around) // len(kernel), 0)
        expected = (around * kernel).sum((1, 2))
        torch.testing.assert_close(out[0, :, row, column], expected, rtol=1e-5, atol=1e-6)


def test_kernels_differ_between_images_and_not_for_the_same_one():
    backbone = nano('dynamic').eval()
    for kernels in predict(backbone, find_mixers(backbone), shown(0, 1, 0), []):
        between = differences(kernels)
        assert between[0, 2] == 0
        assert between[0, 1] == between[1, 2] > 0
    assert differences(torch.eye(2)).tolist() == [[0, 2**0.5], [2**0.5, 0]]


def test_channels_that_differ_most_are_chosen():
    kernels = torch.zeros(3, 1, 5, 3, 3)
    kernels[:, :, 1] = 7
    kernels[0, :, 4] = kernels[1, :, 2, 0, 0] = 1
    assert most_different(kernels, 2).tolist() == [2, 4]


def test_pages_of_predicted_kernels():
    images = shown(0, 1, 2)
    backbone = nano('dynamic').eval()
    places = find_mixers(backbone)
    kernels = predict(backbone, places, images, POINTS)
    drawn = grids(kernel_pages.dynamic_page(places[0], images, kernels[0]))
    assert [panels(grid) for grid in drawn] == [8] * 6
    page = kernel_pages.differences_page(places, images, kernels)
    titles = [title for part in page.subfigs for axes in part.axes if (title := axes.get_title())]
    assert titles == [place.title for place in places]

    backbone = nano('inhomogeneous').eval()
    place = find_mixers(backbone)[3]
    (kernels,) = predict(backbone, [place], images, POINTS)
    page = kernel_pages.inhomogeneous_page(place, images, kernels, POINTS)
    assert [panels(grid) for grid in grids(page)] == [16] * 3
    assert [len(axes.patches) for axes in page.axes[:6]] == [2, 0] * 3


def test_a_field_ends_where_kernels_do():
    (first, *_) = receptive_fields(nano('static').eval(), list(noise(2).split(1)))
    inside = torch.zeros(64, 64, dtype=torch.bool)
    # The central position of 16 x 16 is 8; its kernel covers positions 5 to 11 of 4 pixels each.
    inside[20:48, 20:48] = True
    assert first.max() == 1
    assert first[~inside].max() == 0
    assert (first[inside] > 0).all()
    # As many pixels from the center, (34, 34), to each side.
    assert reach_of(first, 1, 34, 34) == 14


def test_a_field_is_everywhere_if_kernels_are_predicted_from_the_image():
    assert (receptive_fields(nano('dynamic').eval(), [noise(1)])[0] > 0).all()
    assert support(nano('dynamic'), 1, (8, 8)) is None
    assert support(nano('swin_mlp'), 1, (8, 8)) is None


def test_bounds_of_fields():
    backbone = nano('inhomogeneous')
    assert support(backbone, 1, (8, 2)) == [[20, 47], [-4, 23]]
    # Position 4 of stage 2 depends on 1 to 7, so on 2 to 15 of stage 1, whose kernels reach 3 on.
    assert support(backbone, 2, (4, 4)) == [[-4, 75], [-4, 75]]


def test_the_backbone_must_be_ours():
    with pytest.raises(UserError, match='backbone of the model is Identity'):
        find_backbone(SimpleNamespace(backbone=nn.Identity()))


def test_command(trained: Callable, images: Path, tmp_path: Path, capsys):
    args = [*trained(), str(images / 'a.png'), '--out', str(tmp_path / 'out'), '--device', 'cpu']
    assert mixers.main(args) == 0
    names = {f'static_stage{stage}.png' for stage in (1, 2, 3, 4)} | {'receptive_fields.png'}
    pages = {path.name: path for path in (tmp_path / 'out').iterdir()}
    assert pages.keys() == names
    assert all(min(Image.open(path).size) > 200 for path in pages.values())
    told = capsys.readouterr().out
    assert all(str(path) in told for path in pages.values())


@pytest.mark.slow
@pytest.mark.parametrize(('task', 'mixer'), [('detect', 'dynamic'), ('segment', 'inhomogeneous')])
def test_command_for_other_tasks(trained: Callable, images: Path, tmp_path: Path, task, mixer):
    args = [*trained(task, mixer), str(images), '--limit', '3', '--out', str(tmp_path / 'out')]
    assert mixers.main(args) == 0
    names = {f'{mixer}_stage{stage}.png' for stage in (1, 2, 3, 4)} | {'receptive_fields.png'}
    if mixer == 'dynamic':
        names.add('dynamic_differences.png')
    assert {path.name for path in (tmp_path / 'out').iterdir()} == names


def test_bad_input(trained: Callable, images: Path, tmp_path: Path, refusal: Callable):
    config, checkpoint = trained(mixer='dynamic')
    assert 'no config at nothing.py' in refusal(mixers.main, 'nothing.py', checkpoint)
    static = ('--cfg-options', 'model.backbone.mixer=static')
    told = refusal(mixers.main, config, checkpoint, images, *static)
    assert 'is of another model than the config describes' in told
    assert 'give images' in refusal(mixers.main, config, checkpoint)
    told = refusal(mixers.main, config, checkpoint, images, '--points', '0.5,0.5', '2,0')
    assert told.startswith('--points 2,0: give X,Y')
    assert '--limit 0' in refusal(mixers.main, config, checkpoint, images, '--limit', 0)
    assert 'no image or folder at no.png' in refusal(mixers.main, config, checkpoint, 'no.png')
    (tmp_path / 'file').touch()
    told = refusal(mixers.main, config, checkpoint, images, '--out', tmp_path / 'file')
    assert 'cannot be written' in told
