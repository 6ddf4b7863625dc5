"""`compile` of a config."""

from pathlib import Path

import pytest
import torch

from mmdwnet.cli.compiling import compile_backbones


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        ('compile=yes', "compile='yes': give True, or a dict of options for torch.compile"),
        ('compile.mode=fastest', "compile={'mode': 'fastest'}, which torch.compile does not take"),
        ('compile.backend=fastest', 'which torch.compile does not take'),
        ('compile.speed=2', "unexpected keyword argument 'speed'"),
    ],
)
def test_bad_options_are_refused(refusal, config, change, said):
    assert said in refusal('train', config, changes=(change,))


@pytest.mark.skipif(torch.cuda.is_available(), reason='asks for what the CPU needs')
def test_missing_compiler_is_told(refusal, config, monkeypatch):
    monkeypatch.setenv('CXX', 'no-such-compiler')
    said = refusal('train', config, changes=('compile=True',))
    assert said.startswith('torch.compile needs a C++ compiler on the CPU, and there is no no-such')


@pytest.mark.usefixtures('compiler')
def test_compiled_training_is_resumed(command, config, tmp_path: Path):
    work_dir, changes = tmp_path / 'work', ('compile.backend=eager',)
    assert command('train', config, changes=changes)[0] == 0
    changes += ('train_cfg.max_epochs=2',)
    assert command('train', config, '--resume', changes=changes)[0] == 0
    state = torch.load(work_dir / 'epoch_2.pth', weights_only=False)
    assert state['meta']['iter'] == 4
    # The weights are for any model, compiled or not.
    assert not [key for key in state['state_dict'] if '_orig_mod' in key]
    written = (work_dir / Path(config).name).read_text()
    assert "compile = dict(backend='eager')" in written
    assert command('test', config, str(work_dir / 'epoch_2.pth'))[0] == 0


def test_other_backbones_are_left_to_mmengine():
    assert not compile_backbones(torch.nn.Sequential(torch.nn.Linear(2, 2)), True)
