"""Masked convolution through mmcv's own layer, against the whole one."""

import pytest
import torch

from .stand_in import mmcv, needs_stand_in, random

pytestmark = needs_stand_in


@pytest.mark.parametrize(('kernel', 'padding'), [(3, 1), (1, 0), (5, 2)])
@pytest.mark.parametrize('dtype', [torch.float64, torch.float32, torch.bfloat16])
def test_masked_conv_is_a_convolution_where_the_mask_is(
    kernel: int, padding: int, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    layer = mmcv.ops.MaskedConv2d(3, 4, kernel, padding=padding).to(dtype)
    x = random(1, 3, 6, 7, seed=0).to(dtype)
    mask = random(1, 6, 7, seed=1) > 0.5
    assert 0 < mask.sum() < mask.numel()
    with torch.no_grad():
        expected = layer(x) * mask
        epsilon = torch.finfo(dtype).eps
        torch.testing.assert_close(layer(x, mask.to(dtype)), expected, rtol=0, atol=8 * epsilon)
        assert not layer(x, torch.zeros(1, 6, 7)).any()
