"""What the tests of the stand-in share: mmcv's functions over it, and random inputs."""

import mmcv
import pytest
import torch
from torch import Tensor

import mmdwnet

assert mmdwnet  # it is what makes the next line possible
import mmcv.ops  # noqa: E402

needs_stand_in = pytest.mark.skipif(
    mmcv._ext.__spec__.origin != 'mmdwnet.mmcv_ext',
    reason='this mmcv has compiled operators, so that the stand-in is not in use',
)


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
