import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from safetensors.torch import load_file
from torch import Tensor

from mmdwnet import DWNet
from mmdwnet.apis.building import build_model
from mmdwnet.checkpoints.fitting import check_all_weights
from mmdwnet.cli import convert

from ..checkpoints import authors
from ..models import golden

CONFIGS = Path(__file__).parents[2] / 'configs'


@pytest.fixture(scope='module')
def weights() -> dict[str, Tensor]:
    """A small classifier's weights, in the authors' naming."""
    torch.manual_seed(0)
    head = {'head.weight': torch.randn(10, 256), 'head.bias': torch.randn(10)}
    return {**DWNet('nano').state_dict(), **head}


@pytest.fixture
def source(weights, tmp_path: Path) -> Path:
    return authors.classifier_file(tmp_path / 'source.pth', weights)


@pytest.fixture
def refusal(tmp_path: Path, capsys: pytest.CaptureFixture) -> Callable[..., str]:
    """Converts what is to be refused; returns the one sentence that is said."""

    def run(*args: object) -> str:
        before = sorted(tmp_path.rglob('*'))
        assert convert.main([str(arg) for arg in args]) == 2
        assert sorted(tmp_path.rglob('*')) == before
        said = capsys.readouterr().err.strip()
        assert '\n' not in said and said
        return said

    return run


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert list(found) == list(expected)
    for key, value in expected.items():
        assert found[key].dtype == value.dtype, key
        assert torch.equal(found[key], value), key


def run_both_ways(
    source: Path, weights: dict[str, Tensor], under: str
) -> tuple[Path, dict[str, Tensor]]:
    """Converts there and back; returns the file in between and what it holds."""
    there, back = source.with_name('there.pth'), source.with_name('back.pth')
    assert convert.main([str(source), str(there)]) == 0
    assert convert.main([str(there), str(back), '--reverse']) == 0
    read = torch.load(back, weights_only=True)
    assert set(read) == ({'model'} if under == 'model' else {'state_dict', 'meta'})
    same(read[under], weights)
    converted = torch.load(there, weights_only=True)
    assert set(converted) == {'state_dict', 'meta'}
    return there, converted['state_dict']


@pytest.mark.parametrize(
    'name',
    [
        'dwnet_tiny',
        'dynamic_dwnet_tiny',
        'i_dynamic_dwnet_tiny',
        'swin_mlp_tiny_c24',
        'swin_mlp_tiny_c12',
        'swin_mlp_tiny_c6',
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in (
                'dwnet_base',
                'dynamic_dwnet_base',
                'i_dynamic_dwnet_base',
                'swin_mlp_base',
            )
        ),
    ],
)
def test_classifiers_give_the_authors_numbers(tmp_path: Path, capsys, name):
    expected = golden.load(f'cls_{name}')
    source = authors.classifier_file(tmp_path / 'x.pth', expected.state_dict)
    there, state = run_both_ways(source, expected.state_dict, 'model')
    assert f'{source} is {name}, a classifier of 1000 classes: wrote' in capsys.readouterr().out

    model = build_model(Config.fromfile(CONFIGS / 'cls' / f'{name}.py'))
    check_all_weights(str(there), model)
    model.load_state_dict(state, strict=True)
    with torch.no_grad():
        logits = model.eval()(expected.image)
    np.testing.assert_allclose(logits.numpy(), expected.arrays['logits'], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ('release', 'backbone'),
    [
        ('cascade_mask_rcnn', 'dwnet_tiny'),
        pytest.param('upernet', 'dynamic_dwnet_tiny', marks=pytest.mark.slow),
        pytest.param('cascade_mask_rcnn', 'dynamic_dwnet_base', marks=pytest.mark.slow),
        pytest.param('upernet', 'dwnet_base', marks=pytest.mark.slow),
    ],
)
def test_dense_models_give_the_authors_numbers(tmp_path: Path, capsys, release, backbone):
    expected = golden.load(f'dense_{backbone}')
    (config,) = CONFIGS.glob(f'*/{release}_{backbone}_*.py')
    model = build_model(Config.fromfile(config))
    own = model.state_dict()
    others = {key: value for key, value in own.items() if not key.startswith('backbone.')}
    for value in others.values():
        if value.is_floating_point():
            value.uniform_(-1, 1)  # BNs are all alike before training
    weights = {f'backbone.{key}': value for key, value in expected.state_dict.items()}
    weights |= {key: value.clone() for key, value in others.items()}
    source = authors.dense_file(tmp_path / 'x.pth', weights)
    there, state = run_both_ways(source, weights, 'state_dict')
    assert f'{source} is {release}_{backbone}: wrote' in capsys.readouterr().out

    for value in own.values():
        value.zero_()
    check_all_weights(str(there), model)
    model.load_state_dict(state, strict=True)
    same({key: model.state_dict()[key] for key in others}, {key: weights[key] for key in others})
    with torch.no_grad():
        outs = model.eval().backbone(expected.image)
    for i, out in enumerate(outs):
        np.testing.assert_allclose(
            out[:, ::16].numpy(), expected.arrays[f'out{i}'], atol=1e-4, rtol=0
        )


def test_safetensors_there_and_back(source: Path, weights, tmp_path: Path):
    there, back = tmp_path / 'there.safetensors', tmp_path / 'back.safetensors'
    assert convert.main([str(source), str(there)]) == 0
    named = load_file(there)
    assert len(named) == len(weights) and 'head.fc.weight' in named
    assert convert.main([str(there), str(back), '--reverse']) == 0
    found = load_file(back)
    same({key: found[key] for key in weights}, weights)
    assert convert.main([str(back), str(tmp_path / 'again.pth')]) == 0
    again = torch.load(tmp_path / 'again.pth', weights_only=True)['state_dict']
    same({key: again[key] for key in named}, named)


def test_files_hold_the_weights_alone(weights, tmp_path: Path):
    """Tensors may be parts of larger ones, or lie in memory in any order."""
    large = torch.randn(1000, 256)
    held = {**weights, 'head.weight': large[5:15], 'head.bias': large[:10, 0]}
    held['norm.bias'] = held['norm.weight']
    source = authors.classifier_file(tmp_path / 'x.pth', held)
    for name in ('there.pth', 'there.safetensors'):
        there = tmp_path / name
        assert convert.main([str(source), str(there)]) == 0
        assert there.stat().st_size < source.stat().st_size - 4 * 900 * 256
    same(torch.load(tmp_path / 'there.pth')['state_dict'], convert.official.to_mm(held))
    read = load_file(there)
    assert torch.equal(read['backbone.norm.bias'], read['backbone.norm.weight'])


@contextmanager
def small_disk() -> Iterator[None]:
    """Lets no file grow beyond 100 kB."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize('ending', ['pth', 'safetensors'])
def test_destinations_are_replaced_as_a_whole(source: Path, tmp_path: Path, refusal, ending):
    there = tmp_path / 'a' / f'there.{ending}'
    assert convert.main([str(source), str(there)]) == 0
    assert list(there.parent.iterdir()) == [there]
    assert there.stat().st_mode & 0o777 == 0o666 & ~_umask()
    before = there.read_bytes()
    with small_disk():
        assert f'{there} cannot be written: ' in refusal(source, there)
    assert there.read_bytes() == before


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_bad_destinations_are_refused(refusal, source: Path, tmp_path: Path):
    said = refusal(source, 'x.pt')
    assert 'x.pt does not end in .pth or .safetensors: choose such a name' in said
    assert 'is the file to read: name another' in refusal(source, source)
    link = tmp_path / 'link.pth'
    link.symlink_to(source)
    assert 'is the file to read: name another' in refusal(source, link)
    folder = tmp_path / 'folder.pth'
    folder.mkdir()
    assert 'it is a folder' in refusal(source, folder)
    assert 'cannot be written' in refusal(source, source / 'x.pth')
    assert 'cannot be written' in refusal(source, '/proc/x.pth')


def test_bad_sources_are_refused(refusal, source: Path, weights, tmp_path: Path):
    there = tmp_path / 'there.pth'
    path = tmp_path / 'x.pth'
    assert refusal(path, there).startswith(f'no checkpoint at {path}')
    path.write_bytes(source.read_bytes()[:-1000])
    assert f'the checkpoint {path} cannot be read' in refusal(path, there)
    path.write_text('text')
    assert f'the checkpoint {path} cannot be read' in refusal(path, there)
    torch.save(torch.nn.Linear(2, 2).state_dict(), path)
    assert 'of no model that mmdwnet knows: it has 2 keys (weight, bias)' in refusal(path, there)
    del (fewer := dict(weights))['norm.weight']
    authors.classifier_file(path, fewer)
    assert '1 key (norm.weight) missing' in refusal(path, there)


def test_the_wrong_way_is_told(refusal, source: Path, tmp_path: Path):
    there = tmp_path / 'there.pth'
    assert convert.main([str(source), str(there)]) == 0
    assert "has OpenMMLab's names already" in refusal(there, tmp_path / 'x.pth')
    assert "has the authors' names already" in refusal(source, tmp_path / 'x.pth', '--reverse')


def test_the_command_is_there(tmp_path: Path):
    command = CONFIGS.with_name('tools') / 'model_converters' / 'official_to_mm.py'
    args = [sys.executable, command, 'none.pth', tmp_path / 'x.pth']
    done = subprocess.run(args, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith('no checkpoint at none.pth') and done.stderr.count('\n') == 1


@pytest.mark.parametrize('kind', authors.KINDS)
def test_harmful_files_are_not_run(weights, tmp_path: Path, capfd, kind):
    path, trace, there = (tmp_path / name for name in ('x.pth', 'trace', 'there.pth'))
    authors.harmful_file(kind, path, weights, trace)
    with authors.extension():
        code = convert.main([str(path), str(there)])
    assert not trace.exists()
    printed = capfd.readouterr()
    assert there.exists() == (code == 0)
    if code == 0:
        assert 'nothing was run' in printed.out
        assert set(torch.load(there, weights_only=True)['state_dict'].keys()) >= {'head.fc.bias'}
    else:
        assert str(path) in printed.err and printed.err.count('\n') == 1
