from pathlib import Path

import pytest


@pytest.mark.parametrize('name', ['train', 'test'])
def test_missing_config_is_refused(refusal, name):
    extra = () if name == 'train' else ('x.pth',)
    assert refusal(name, 'configs/nothing.py', *extra).startswith('no config at configs/nothing.py')


def test_config_that_python_cannot_read_is_refused(refusal, tmp_path: Path):
    path = tmp_path / 'broken.py'
    path.write_text('model = dict(\n')
    assert f'the config {path} cannot be read: SyntaxError' in refusal('train', str(path))


def test_config_without_a_task_is_refused(refusal, tmp_path: Path):
    path = tmp_path / 'scopeless.py'
    path.write_text('train_dataloader = val_dataloader = test_dataloader = dict()\n')
    assert 'has default_scope=None' in refusal('train', str(path))


def test_config_without_a_training_is_refused(refusal, config):
    said = refusal('train', config, changes=('optim_wrapper=None',))
    assert said == f'the config {config} has no optim_wrapper: add it'
