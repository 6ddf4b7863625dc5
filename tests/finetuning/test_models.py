"""Models of each task, and what they start from."""

import pytest
import torch

from mmdwnet.errors import UserError
from mmdwnet.finetuning.models import NANO, choose_start, default_model, find_config


def test_default_models_exist(monkeypatch):
    for gpu in (True, False):
        monkeypatch.setattr(torch.cuda, 'is_available', lambda gpu=gpu: gpu)
        for task in NANO:
            name = default_model(task)
            assert ('nano' in name) is not gpu
            assert find_config(task, name).is_file()


def test_a_model_of_another_task_is_refused():
    with pytest.raises(UserError, match="no model to detect is named 'dwnet_tiny': choose one of"):
        find_config('detect', 'dwnet_tiny')


def saved(path, *keys: str) -> str:
    torch.save(dict(state_dict={key: torch.zeros(1) for key in keys}), path)
    return str(path)


def test_weights_of_the_same_task_are_taken_whole(tmp_path):
    path = saved(tmp_path / 'whole.pth', 'backbone.norm.weight', 'head.fc.weight')
    assert choose_start('classify', 'dwnet_nano', path).model == path
    start = choose_start('detect', NANO['detect'], path)
    assert (start.model, start.backbone) == (None, path)


def test_weights_without_a_backbone_are_refused(tmp_path):
    path = saved(tmp_path / 'other.pth', 'layer.weight')
    with pytest.raises(UserError, match=r'no weights named backbone\.\*'):
        choose_start('classify', 'dwnet_nano', path)


def test_why_a_training_starts_from_scratch(tmp_path, monkeypatch):
    assert 'no weights of the nano models' in choose_start('detect', NANO['detect'], None).told
    monkeypatch.setenv('DWNET_CHECKPOINT_DIR', str(tmp_path / 'missing'))
    start = choose_start('classify', 'dwnet_tiny', None)
    assert not start.pretrained
    assert 'is not a folder' in start.reason
