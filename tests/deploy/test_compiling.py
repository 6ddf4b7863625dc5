"""A compiled DWNet has the same outputs, in the requested dtype."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from torch import nn

from mmdwnet.apis.building import build_model
from mmdwnet.deploy import compile
from mmdwnet.errors import UserError

from ..models.nano import images, nano
from .trained import assert_close, bns, trained

NANO = Path(__file__).parents[1] / 'data' / 'digits' / 'dwnet_nano_digits.py'


@pytest.mark.slow  # up to five minutes where the compiler has cached nothing
@pytest.mark.usefixtures('cpp_compiler')
@pytest.mark.parametrize(('mixer', 'stages'), [('static', (0,)), ('inhomogeneous', (0, 1, 2, 3))])
@torch.no_grad()
def test_all_sizes_at_once(mixer, stages):
    backbone = trained(nano(mixer, out_indices=stages, pad_to_window=True))
    compiled = compile(backbone, dynamic=True)
    for size in ((64, 64), (32, 96), (50, 75), (128, 64)):
        expected = backbone(images(2, *size))
        for got, out in zip(compiled(images(2, *size)), expected, strict=True):
            assert_close(got, out)
            assert got.is_contiguous()
    assert bns(backbone)


@pytest.mark.slow
@pytest.mark.usefixtures('cpp_compiler')
@torch.no_grad()
def test_backbone_has_a_dtype_of_its_own():
    model = trained(build_model(Config.fromfile(NANO)))
    compiled = compile(model, torch.bfloat16)
    assert_close(
        compiled(images(4, 32, 32), mode='tensor'), model(images(4, 32, 32), mode='tensor'), 0.05
    )
    assert {p.dtype for p in compiled.backbone.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in compiled.head.parameters()} == {torch.float32}


class Twins(nn.Module):
    """Model that uses one backbone twice, under two names."""

    def __init__(self, backbone):
        super().__init__()
        self.first = self.second = backbone

    def forward(self, x):
        return self.first(x)[0], self.second(x.flip(0))[0]


@pytest.mark.slow
@pytest.mark.usefixtures('cpp_compiler')
@torch.no_grad()
def test_backbone_that_is_used_twice():
    model = trained(Twins(nano(out_indices=(0,))))
    expected = model(images())
    compiled = compile(model, torch.bfloat16)
    assert compiled.first is compiled.second and type(compiled.first) is not type(model.first)
    for got, out in zip(compiled(images()), expected, strict=True):
        assert_close(got, out, 0.05)


@pytest.mark.usefixtures('cpp_compiler')
@torch.no_grad()
def test_weights_are_constants():
    compiled = compile(trained(nano(out_indices=(0,))))
    before = compiled(images())[0]
    for name, parameter in compiled.named_parameters():
        if name.endswith('conv0.weight'):
            parameter.zero_()
    assert compiled(images())[0].equal(before), (
        'torch no longer takes weights for constants as weights_as_constants() asks it to'
    )


def test_other_dtypes_are_refused():
    with pytest.raises(UserError, match=r'dtype=torch.int8: give one of torch.float32, '):
        compile(nano().eval(), torch.int8)


def test_missing_compiler_is_told(monkeypatch):
    monkeypatch.setenv('PATH', '')
    with pytest.raises(UserError, match=r'needs a C\+\+ compiler .* install it, or name another'):
        compile(nano().eval())
