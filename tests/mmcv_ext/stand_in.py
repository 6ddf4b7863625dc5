"""What the tests of the stand-in share: mmcv's functions over it, and random inputs."""

import mmcv
import pytest
import torch
from torch import Tensor, nn

import mmdwnet

assert mmdwnet  # it is what makes the next line possible
import mmcv.ops  # noqa: E402

needs_stand_in = pytest.mark.skipif(
    mmcv._ext.__spec__.origin != 'mmdwnet.mmcv_ext',
    reason='this mmcv has compiled operators, so that the stand-in is not in use',
)


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def check_under_autocast(layer: nn.Module, dtype: torch.dtype) -> None:
    """Compare a layer for four channels with what it gives in single precision."""
    x = random(2, 4, 7, 8, seed=6).float()
    with torch.autocast('cpu', dtype):
        output = layer(x.to(dtype))
        output.float().square().sum().backward()
    assert output.dtype == dtype
    assert all(p.grad.isfinite().all() for p in layer.parameters())
    epsilon = torch.finfo(dtype).eps
    torch.testing.assert_close(
        output.float(), layer(x), rtol=8 * epsilon, atol=8 * epsilon * output.abs().max().item()
    )
