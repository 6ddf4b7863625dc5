"""Which `mmcv._ext` a program gets, seen from outside: each test runs a script of its own."""

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from importlib.machinery import PathFinder
from pathlib import Path

import cv2
import mmcv
import numpy as np
import pytest

pytestmark = pytest.mark.skipif(
    PathFinder.find_spec('mmcv._ext', mmcv.__path__) is not None,
    reason='this mmcv has compiled operators, so that the stand-in is not in use',
)

STAND_IN = 'mmcv has no compiled operators: mmdwnet stands in'
COMPILED = "mmcv's own compiled operators are used"
ROOT = Path(__file__).parents[2]


def run(script: str, folder: Path, *arguments: str, **environment: str) -> str:
    """Standard output of the script, run in `folder`; it must succeed."""
    path = folder / 'script.py'
    path.write_text(script)
    search = os.pathsep.join(filter(None, [os.environ.get('PYTHONPATH'), str(ROOT)]))
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', str(path), *arguments],
        cwd=folder,
        env=os.environ | {'PYTHONPATH': search} | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


CALL = """
import mmcv.ops, torch
box = torch.tensor([[0.0, 0, 2, 2]])
assert mmcv.ops.nms(box, torch.ones(1), 0.5)[1].tolist() == [0]
"""


@pytest.mark.slow
def test_imported_after_mmcv_and_a_failure(tmp_path: Path) -> None:
    output = run(
        """
import mmcv, mmdet
try:
    import mmcv.ops
except ModuleNotFoundError as error:
    assert 'mmcv._ext' in str(error)
else:
    raise AssertionError('there was no need for mmdwnet')
import mmdwnet
import mmdet.models, mmseg.models
"""
        + CALL,
        tmp_path,
    )
    assert output.count(STAND_IN) == 1


def test_installing_imports_nothing(tmp_path: Path) -> None:
    """`import mmdwnet` installs it always, in environments without OpenMMLab, too."""
    file = ROOT / 'mmdwnet' / 'mmcv_ext' / '__init__.py'
    output = run(
        f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location('mmcv_ext', {str(file)!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
module.install()
print(*{{'mmcv', 'mmengine', 'numpy', 'torch', 'torchvision'}} & set(sys.modules))
""",
        tmp_path,
    )
    assert output.split() == []


def test_without_a_use_nothing_is_said(tmp_path: Path) -> None:
    assert run('import mmdwnet, mmcv', tmp_path) == ''


@pytest.mark.slow
def test_only_one_of_several_ranks_speaks(tmp_path: Path) -> None:
    assert STAND_IN not in run('import mmdwnet' + CALL, tmp_path, RANK='1')


@pytest.mark.parametrize('first', ['mmdwnet', pytest.param('mmcv.ops', marks=pytest.mark.slow)])
def test_compiled_operators_are_left_alone(first: str, tmp_path: Path) -> None:
    """A module on mmcv's search path takes the place of a compiled one."""
    (tmp_path / '_ext.py').write_text(
        'def __getattr__(name):\n'
        "    if name.startswith('_'):\n"
        '        raise AttributeError(name)\n'
        "    return lambda *args, **kwargs: f'compiled {name}'\n"
    )
    output = run(
        f"""
import mmcv
mmcv.__path__.append({str(tmp_path)!r})
import {first}, mmdwnet, mmcv.ops
mmdwnet.mmcv_ext.install()
print(mmcv.ops.get_compiler_version())
""",
        tmp_path,
    )
    assert 'compiled get_compiler_version' in output
    assert output.count(COMPILED) == 1
    assert STAND_IN not in output


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """A COCO data set of four images with one box each."""
    categories = [{'id': 1, 'name': 'person'}]
    images = [{'id': i, 'file_name': f'{i}.png', 'height': 8, 'width': 8} for i in range(1, 5)]
    boxes = [
        {'id': i, 'image_id': i, 'category_id': 1, 'bbox': [1, 1, 4, 4], 'area': 16, 'iscrowd': 0}
        for i in range(1, 5)
    ]
    for image in images:
        cv2.imwrite(str(tmp_path / image['file_name']), np.zeros((8, 8, 3), np.uint8))
    annotations = {'images': images, 'annotations': boxes, 'categories': categories}
    (tmp_path / 'coco.json').write_text(json.dumps(annotations))
    return tmp_path


@pytest.mark.slow
def test_data_loader_workers(coco: Path) -> None:
    """`mmdwnet` is imported under the guard, which a spawned worker does not enter."""
    output = run(
        """
def use_operators(worker_id):
    import mmcv.ops, torch
    mmcv.ops.nms(torch.zeros(1, 4), torch.ones(1), 0.5)

if __name__ == '__main__':
    import mmdwnet
    from mmdet.datasets import CocoDataset
    from mmengine.dataset import pseudo_collate
    from mmengine.registry import init_default_scope
    from torch.utils.data import DataLoader

    init_default_scope('mmdet')
    steps = ['LoadImageFromFile', 'LoadAnnotations', 'PackDetInputs']
    data = CocoDataset(
        ann_file='coco.json',
        data_prefix=dict(img=''),
        pipeline=[dict(type=step) for step in steps],
    )
    # A worker that does not fork imports everything anew, for seconds: one tells as much as two.
    for start, workers in dict(fork=2, spawn=1, forkserver=1).items():
        loader = DataLoader(
            data,
            num_workers=workers,
            collate_fn=pseudo_collate,
            worker_init_fn=use_operators,
            multiprocessing_context=start,
        )
        found = [len(batch['data_samples'][0].gt_instances) for batch in loader]
        print('boxes', start, found)
""",
        coco,
    )
    for start in ('fork', 'spawn', 'forkserver'):
        assert f'boxes {start} [1, 1, 1, 1]' in output
    assert output.count(STAND_IN) == 1


def test_private_attribute_of_multiprocessing_is_there() -> None:
    assert isinstance(getattr(multiprocessing.current_process(), '_config', None), dict), (
        'multiprocessing has moved BaseProcess._config: mmcv_ext._import_in_children needs another '
        'way to have spawned workers import mmdwnet'
    )


@pytest.mark.slow
def test_processes_spawned_by_spawned_ones(tmp_path: Path) -> None:
    """As workers of ranks that `torch.multiprocessing.spawn` started."""
    output = run(
        """
import multiprocessing

def child(depth):
    import mmcv.ops
    print('reached', depth, flush=True)
    if depth == 1:
        start(2)

def start(depth):
    process = multiprocessing.get_context('spawn').Process(target=child, args=(depth,))
    process.start()
    process.join()

if __name__ == '__main__':
    import mmdwnet, mmcv.ops
    start(1)
""",
        tmp_path,
    )
    assert 'reached 1' in output
    assert 'reached 2' in output


def test_alone(tmp_path: Path) -> None:
    """In an environment without the rest of the package, whose `__init__` installs it otherwise."""
    package = tmp_path / 'mmdwnet'
    for room in ('mmcv_ext', 'ops'):
        shutil.copytree(ROOT / 'mmdwnet' / room, package / room)
    shutil.copy(ROOT / 'mmdwnet' / 'errors.py', package)
    (package / '__init__.py').touch()
    output = run(
        'from mmdwnet import mmcv_ext\n'
        'mmcv_ext.install()\n'
        f'{CALL}\n'
        'for layer in (mmcv.ops.CARAFEPack(4, 2), mmcv.ops.ModulatedDeformConv2dPack(4, 4, 3)):\n'
        '    layer(torch.ones(1, 4, 5, 5)).sum().backward()\n'
        'print(mmcv_ext.__file__)\n',
        tmp_path,
    )
    assert STAND_IN in output
    assert str(package) in output
