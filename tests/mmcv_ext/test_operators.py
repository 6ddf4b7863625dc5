"""What the stand-in says of itself, and of what it lacks."""

import mmcv.utils
import pytest
import torch

from mmdwnet.errors import UserError

from .stand_in import mmcv, needs_stand_in

pytestmark = needs_stand_in


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
