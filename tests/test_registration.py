"""What an import brings and registers, in an interpreter of its own."""

import subprocess
import sys

import pytest

from .hiding import OPENMMLAB

OTHERS = {'timm', 'cv2', 'sklearn', 'matplotlib'}


def run(script: str) -> str:
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', script], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_an_import_brings_torch_alone() -> None:
    names = 'mmdwnet, mmdwnet.ops, mmdwnet.models, mmdwnet.deploy'
    assert run(f'import sys, {names}; print(*({OPENMMLAB | OTHERS!r} & set(sys.modules)))') == ''


BUILD = """
from mmengine.registry import MODELS, HOOKS, OPTIM_WRAPPERS, DATA_SAMPLERS
print(type(MODELS.build(dict(type='DWNet', arch='nano'))).__module__)
assert HOOKS.get('FuseHook') and OPTIM_WRAPPERS.get('GuardedOptimWrapper')
assert DATA_SAMPLERS.get('ShareSampler')
from mmengine.runner import CheckpointLoader
try:
    CheckpointLoader.load_checkpoint('dwnet://nothing')
except ValueError as error:
    assert 'dwnet://nothing is not released' in str(error)
import sys
assert not {'mmpretrain', 'mmdet', 'mmseg'} & set(sys.modules)
import inspect, mmengine
assert 'registry' in inspect.getsource(mmengine)  # its loader is its own
"""


@pytest.mark.parametrize(
    'imports',
    [
        'import mmdwnet',
        pytest.param('import mmengine, mmdwnet', marks=pytest.mark.slow),
        pytest.param('import mmdwnet.ops', marks=pytest.mark.slow),
    ],
)
def test_classes_are_there_whatever_comes_first(imports: str) -> None:
    assert run(imports + BUILD).splitlines()[0] == 'mmdwnet.backbones'


def test_mmpretrain_knows_the_names_whatever_comes_first() -> None:
    script = "import mmdwnet, mmpretrain; print('dwnet_tiny' in mmpretrain.list_models())"
    assert run(script) == 'True'


def test_a_package_without_configs_can_be_imported() -> None:
    script = """
import mmdwnet.apis.hub as hub
hub.__file__ = '/nowhere/mmdwnet/apis/hub.py'
import mmpretrain
from mmdwnet import DWNet
print(type(DWNet('nano')).__name__, mmpretrain.list_models('dwnet_tiny'))
"""
    assert run(script) == 'DWNet []'
