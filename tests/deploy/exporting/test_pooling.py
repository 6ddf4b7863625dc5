"""Averaging matrices pool as torch's adaptive pooling does."""

import pytest
import torch
from torch import nn

from mmdwnet.deploy.exporting.pooling import AveragingMatrices


@pytest.mark.parametrize('size', [(1, 1), (5, 17), (6, 6), (16, 31)])
@pytest.mark.parametrize('wanted', [1, 2, 3, 6, (2, 5), (None, 3), (4, None)])
def test_as_torch(size: tuple[int, int], wanted: object) -> None:
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    pool = nn.AdaptiveAvgPool2d(wanted)
    torch.testing.assert_close(AveragingMatrices(pool)(x), pool(x))
