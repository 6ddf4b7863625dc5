"""A wrong config is told in a sentence; a fault in a class keeps its traceback.

mmengine has no error class of its own for either: where the first of these tests fails, its
registry raises from somewhere else than `mmdwnet/apis/building.py` expects.
"""

import pytest
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import nn

from mmdwnet.apis.building import build_model
from mmdwnet.errors import UserError


class Faulty(nn.Module):
    def __init__(self, fault: str = '', inner: dict | None = None) -> None:
        super().__init__()
        if fault == 'key':
            dict()['a']
        if fault == 'call':
            self.register_buffer('a', None, size=3)
        if fault == 'builtin':
            len(3)
        if inner:
            self.inner = MODELS.build(inner)


@pytest.mark.parametrize(
    ('model', 'said'),
    [
        (dict(type='Nothing'), 'Nothing is not in'),
        (dict(type=Faulty, inner=dict(type='Nothing')), 'Nothing is not in'),
        (dict(type=Faulty, depth=3), "unexpected keyword argument 'depth'"),
        (dict(type=Faulty, inner=dict(type='DWNet', depth=3)), "keyword argument 'depth'"),
        (dict(type=3), 'type must be'),
    ],
)
def test_a_wrong_config_is_told_in_a_sentence(model, said):
    with pytest.raises(UserError, match=f'^the model of None cannot be built: .*{said}'):
        build_model(Config(dict(model=model, default_scope='mmpretrain')))


@pytest.mark.parametrize(
    ('fault', 'error'), [('key', KeyError), ('call', TypeError), ('builtin', TypeError)]
)
def test_a_fault_in_a_class_keeps_its_traceback(fault, error):
    model = dict(type=Faulty, inner=dict(type=Faulty, fault=fault))
    with pytest.raises(error) as raised:
        build_model(Config(dict(model=model, default_scope='mmpretrain')))
    assert raised.traceback[-1].name == '__init__'
