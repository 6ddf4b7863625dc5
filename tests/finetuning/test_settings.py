"""Numbers that are chosen by the data and the machine."""

from pathlib import Path

import pytest
import torch

from mmdwnet.errors import UserError
from mmdwnet.finetuning import memory, settings
from mmdwnet.finetuning.found import Found, Object, Sample
from mmdwnet.finetuning.settings import choose, image_size

from ..models.nano import nano


def found(task: str, train: int, size=(64, 64), val: int = 1, box: float = 40.0) -> Found:
    objects = (Object(0, (0.0, 0.0, box, box)),) if task == 'detect' else ()
    sample = Sample(Path('image.png'), size, label=0, objects=objects)
    return Found(task, 'test', ['a', 'b'], {'train': [sample] * train, 'val': [sample] * val})


def test_the_demos_data_get_the_demos_settings():
    chosen = {
        'classify': choose(found('classify', 11496), nano(), True, False),
        'detect': choose(found('detect', 1500, (160, 160)), nano(), True, True),
        'segment': choose(found('segment', 1500, (160, 160)), nano(), True, True),
    }
    sizes = {task: (one.size, one.batch_size, one.epochs) for task, one in chosen.items()}
    assert sizes == {'classify': (64, 32, 4), 'detect': (160, 4, 1), 'segment': (160, 8, 5)}
    assert all(one.frozen_stages == -1 for one in chosen.values())


def test_few_images_are_seen_often_and_in_small_batches():
    few = choose(found('classify', 5), nano(), True, False)
    assert (few.batch_size, few.epochs, few.workers) == (2, 100, 0)


def test_what_is_given_is_taken():
    given = choose(found('classify', 50), nano(), True, False, size=96, batch_size=7, epochs=3)
    assert (given.size, given.batch_size, given.epochs) == (96, 7, 3)


@pytest.mark.parametrize(('images', 'frozen'), [(50, 3), (500, 2), (5000, -1)])
def test_small_data_train_the_last_stages_of_pretrained_models_alone(images, frozen):
    data = found('classify', images)
    assert choose(data, nano(), False, True).frozen_stages == frozen
    assert choose(data, nano(), False, False).frozen_stages == -1


@pytest.mark.parametrize(('train', 'val'), [(1, 1), (5, 0)])
def test_too_few_images_are_refused(train, val):
    with pytest.raises(UserError, match=f'{train} images to train and {val} to validate'):
        choose(found('classify', train, val=val), nano(), True, False)


def test_label_maps_of_one_class_are_refused():
    data = found('segment', 5)
    data.classes = ['road']
    with pytest.raises(UserError, match='one class, road'):
        choose(data, nano(), True, False)


def test_sizes_follow_the_images_within_bounds():
    assert image_size(found('classify', 3, (28, 28)), 64, 128) == 64
    assert image_size(found('classify', 3, (500, 100)), 64, 128) == 96
    assert image_size(found('classify', 3, (4000, 3000)), 64, 128) == 128


def test_small_objects_get_larger_images():
    assert image_size(found('detect', 3, (640, 480), box=200.0), 160, 192) == 192
    assert image_size(found('detect', 3, (640, 480), box=40.0), 160, 192) == 256
    assert image_size(found('detect', 3, (640, 480), box=5.0), 160, 192) == 384
    assert image_size(found('detect', 3, (200, 200), box=5.0), 160, 192) == 192


def test_batches_fit_into_the_free_memory(monkeypatch):
    model = nano()
    monkeypatch.setattr(memory, 'free_bytes', lambda: 2**33)
    assert memory.fitting_batch(model, 'segment', 64, 8) == 8
    monkeypatch.setattr(memory, 'free_bytes', lambda: 2**20)
    assert memory.fitting_batch(model, 'segment', 64, 8) == 2
    needed = memory.saved_bytes(model, 64)
    states = 16 * sum(parameter.numel() for parameter in model.parameters())
    monkeypatch.setattr(memory, 'free_bytes', lambda: (states + 5.5 * needed) * 3 / 0.6)
    assert memory.fitting_batch(model, 'segment', 64, 8) == 5


def test_saved_bytes_are_what_autograd_keeps():
    layers = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.GELU())
    # The image for the convolution's weight, and the map for GELU.
    assert memory.saved_bytes(layers, 32) == 4 * (3 + 8) * 32 * 32


def test_there_is_free_memory():
    assert 2**20 < memory.free_bytes() < 2**50
    assert settings.trained_on(found('detect', 3))
