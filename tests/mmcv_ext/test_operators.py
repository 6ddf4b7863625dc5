"""What the stand-in says of itself, and of what it lacks."""

import ast
import re
from importlib.util import find_spec
from pathlib import Path

import mmcv.utils
import pytest
import torch

from mmdwnet.errors import UserError

from .stand_in import mmcv, needs_stand_in

pytestmark = needs_stand_in


# In files of mmcv that the libraries import from, but not in what they import.
NOT_REACHED = {
    'nms_quadri',
    'nms_rotated',
    'softmax_focal_loss_backward',
    'softmax_focal_loss_forward',
}


def imported(path: Path) -> dict[str, str]:
    """Return the names that a file imports from other modules, and those."""
    imports = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ImportFrom)]
    return {alias.name: node.module or '' for node in imports for alias in node.names}


def test_all_that_the_libraries_import_is_there() -> None:
    folder = Path(mmcv.ops.__path__[0])
    files = imported(folder / '__init__.py')
    reached = {'MMSyncBN': 'sync_bn', 'DCNv2': 'modulated_deform_conv'}  # named in configs
    for library in ('mmdet', 'mmseg', 'mmpretrain'):
        for path in Path(find_spec(library).origin).parent.glob('[!.]*/**/*.py'):
            if 'mmcv.ops' in path.read_text():
                reached |= {
                    name: files.get(name) or module.removeprefix('mmcv.ops.')
                    for name, module in imported(path).items()
                    if module.startswith('mmcv.ops')
                }
    assert len(reached) > 15
    for file in set(reached.values()):
        called = re.findall(r'ext_module\.(\w+)', (folder / f'{file}.py').read_text())
        assert set(called) - NOT_REACHED <= set(vars(mmcv._ext)), file


def test_other_operators_name_themselves() -> None:
    box = torch.zeros(1, 5)
    for call, name in [
        (lambda: mmcv.ops.box_iou_rotated(box, box), 'box_iou_rotated'),
        (lambda: mmcv.ops.nms_rotated(box, torch.zeros(1), 0.5), 'nms_rotated'),
    ]:
        with pytest.raises(UserError, match=rf"'{name}'.*install an mmcv with compiled operators"):
            call()


def test_environment_report_names_the_stand_in() -> None:
    report = mmcv.utils.collect_env()
    assert 'mmdwnet' in report['MMCV Compiler']
    assert report['MMCV CUDA Compiler']
