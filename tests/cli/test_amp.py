from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import AmpOptimWrapper, ApexOptimWrapper, OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS

from mmdwnet.cli.amp import use_amp
from mmdwnet.errors import UserError

needs_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason='asks for what the CPU has not')


@needs_cpu
def test_float16_is_refused_on_the_cpu(refusal, config):
    said = refusal('train', config, '--amp', 'float16')
    assert said == 'there is no float16 training on the CPU: give --amp bfloat16, or use a GPU'


@pytest.mark.parametrize('kind', ['ApexOptimWrapper', ApexOptimWrapper])
def test_other_wrappers_are_left_alone(kind):
    cfg = Config(dict(optim_wrapper=dict(type=kind)))
    with pytest.raises(UserError, match=r'optim_wrapper\.type=ApexOptimWrapper'):
        use_amp(cfg, 'bfloat16')


@pytest.mark.parametrize('option', [dict(loss_scale=512.0), dict(use_fsdp=True)])
def test_options_that_would_be_lost_are_refused(option):
    (key,) = option
    cfg = Config(dict(optim_wrapper=dict(type='AmpOptimWrapper', **option)))
    with pytest.raises(UserError, match=rf'optim_wrapper\.{key}='):
        use_amp(cfg, 'bfloat16')


@pytest.mark.parametrize(
    'given',
    [
        dict(),
        dict(type='OptimWrapper'),
        dict(type=OptimWrapper),
        dict(type=AmpOptimWrapper, dtype='float16'),
        dict(type='AmpOptimWrapper', dtype='float16', loss_scale='dynamic'),
        dict(type='GuardedOptimWrapper', dtype='auto', max_dropped_in_a_row=3),
    ],
)
def test_products_are_in_bfloat16(given):
    cfg = Config(dict(optim_wrapper=dict(**given, accumulative_counts=2)))
    use_amp(cfg, 'bfloat16')
    model = torch.nn.Linear(4, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    wrapper = OPTIM_WRAPPERS.build(cfg.optim_wrapper, default_args=dict(optimizer=optimizer))
    with wrapper.optim_context(model):
        assert model(torch.ones(2, 4)).dtype == torch.bfloat16
    # What else the config says stays.
    assert not wrapper.should_sync()
    assert wrapper.max_dropped_in_a_row == given.get('max_dropped_in_a_row', 20)


def test_training_in_mixed_precision(command, config, tmp_path: Path):
    assert command('train', config, '--amp', 'bfloat16')[0] == 0
    work_dir = tmp_path / 'work'
    written = Config.fromfile(work_dir / 'dwnet_nano_digits.py').optim_wrapper
    assert (written.type, written.dtype) == ('GuardedOptimWrapper', 'bfloat16')
    assert (work_dir / 'epoch_1.pth').exists()
    (log,) = work_dir.rglob('*.log')
    assert 'GuardedOptimWrapper trains in torch.bfloat16' in log.read_text()


@needs_cpu
def test_amp_alone_is_bfloat16_on_the_cpu(command, config):
    assert command('train', config, '--amp', '--check')[0] == 0
    cfg = Config(dict(optim_wrapper=dict(dtype='auto')))
    use_amp(cfg, 'auto')
    assert cfg.optim_wrapper == dict(type='GuardedOptimWrapper', dtype='bfloat16')


def test_training_that_explodes_stops_with_its_sentence(command, config, tmp_path: Path):
    changes = (
        'optim_wrapper.optimizer.lr=1e30',
        'optim_wrapper.max_dropped_in_a_row=2',
        'param_scheduler=None',
        'train_cfg.max_epochs=3',
        'train_cfg.val_interval=3',
        'default_hooks.logger.interval=1',
    )
    code, stderr = command('train', config, '--amp', 'bfloat16', changes=changes)
    assert code == 2
    assert stderr.strip().splitlines()[-1].startswith('3 batches in a row were dropped, the last')
    assert 'Traceback' in stderr  # it is not the input alone that can be at fault
    (log,) = (tmp_path / 'work').rglob('*.log')
    assert 'dropped: 2' in log.read_text()
