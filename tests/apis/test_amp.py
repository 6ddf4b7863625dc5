from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import OPTIM_WRAPPERS

from mmdwnet.apis.amp import use_amp
from mmdwnet.errors import UserError

needs_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason='asks for what the CPU has not')


@needs_cpu
def test_float16_is_refused_on_the_cpu(refusal, config):
    said = refusal('train', config, '--amp', 'float16')
    assert said == 'there is no float16 training on the CPU: give --amp bfloat16, or use a GPU'


def test_other_wrappers_are_left_alone():
    cfg = Config(dict(optim_wrapper=dict(type='ApexOptimWrapper')))
    with pytest.raises(UserError, match=r'optim_wrapper\.type=ApexOptimWrapper'):
        use_amp(cfg, 'bfloat16')


def test_products_are_in_bfloat16_and_weights_stay():
    cfg = Config(dict(optim_wrapper=dict(type='AmpOptimWrapper', loss_scale='dynamic')))
    use_amp(cfg, 'bfloat16')
    model = torch.nn.Linear(4, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    wrapper = OPTIM_WRAPPERS.build(cfg.optim_wrapper, default_args=dict(optimizer=optimizer))
    before = model.weight.detach().clone()
    with wrapper.optim_context(model):
        out = model(torch.ones(2, 4))
    assert out.dtype == torch.bfloat16
    wrapper.update_params(out.float().sum())
    assert model.weight.dtype == torch.float32
    # Each weight's gradient is the sum of two inputs of 1.
    torch.testing.assert_close(model.weight.detach(), before - 2)


def test_training_in_mixed_precision(command, config, tmp_path: Path):
    assert command('train', config, '--amp')[0] == 0
    written = Config.fromfile(tmp_path / 'work' / 'dwnet_nano_digits.py')
    if not torch.cuda.is_available():
        assert written.optim_wrapper.type == 'BFloat16OptimWrapper'
    assert (tmp_path / 'work' / 'epoch_1.pth').exists()
