"""Maps are pooled and enlarged as by the modules that are replaced."""

import mmdwnet  # noqa: F401  (first, as mmseg needs its operators)

# isort: split
import pytest
import torch
from mmseg.models.utils import Upsample
from torch import nn

from mmdwnet.deploy.exporting.resampling import AveragingMatrices, substitutes


@pytest.mark.parametrize('size', [(1, 1), (5, 17), (6, 6), (16, 31)])
@pytest.mark.parametrize('wanted', [1, 2, 3, 6, (2, 5), (None, 3), (4, None)])
def test_as_torch(size: tuple[int, int], wanted: object) -> None:
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    pool = nn.AdaptiveAvgPool2d(wanted)
    torch.testing.assert_close(AveragingMatrices(pool)(x), pool(x))


@pytest.mark.parametrize('factor', [2, 1.5])
def test_enlarged_as_by_mmseg(factor: float) -> None:
    x = torch.randn(1, 3, 5, 8, generator=torch.Generator().manual_seed(0))
    upsample = Upsample(scale_factor=factor, mode='bilinear', align_corners=False)
    (replaced,) = substitutes([upsample, Upsample(size=(9, 9)), nn.AdaptiveAvgPool2d(1)]).values()
    assert replaced(x).equal(upsample(x))
