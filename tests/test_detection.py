import torch
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmengine.registry import MODELS

import mmdwnet.detection  # noqa: F401

CONFIG = dict(
    roi_layer=dict(type='RoIAlign', output_size=2, sampling_ratio=2),
    out_channels=1,
    featmap_strides=[4],
)


def ramp(dtype: torch.dtype) -> torch.Tensor:
    """A map whose values, read at stride 4, are exactly its columns, in any dtype."""
    return torch.arange(320).remainder(256).to(dtype).expand(1, 1, 8, 320)


def test_boxes_keep_their_place_in_bfloat16():
    extractor = MODELS.build(dict(type='Float32RoIExtractor', **CONFIG))
    # 4 pixels to the right are one column further, but one and the same number in bfloat16.
    boxes = torch.tensor([[0, 1100.0, 4, 1116.0, 20], [0, 1104.0, 4, 1120.0, 20]])
    left, right = extractor((ramp(torch.bfloat16),), boxes)
    torch.testing.assert_close(right, left + 1)
    torch.testing.assert_close(left, extractor((ramp(torch.float32),), boxes)[0])


def test_mmdets_own_loses_it():
    """When this fails, Float32RoIExtractor has become needless."""
    extractor = SingleRoIExtractor(**CONFIG)
    boxes = torch.tensor([[0, 1100.0, 4, 1116.0, 20], [0, 1104.0, 4, 1120.0, 20]])
    left, right = extractor((ramp(torch.bfloat16),), boxes).float()
    assert not torch.equal(right, left + 1)


def test_gradients_reach_the_maps_in_their_dtype():
    extractor = MODELS.build(dict(type='Float32RoIExtractor', **CONFIG))
    feat = torch.zeros(1, 1, 8, 8, dtype=torch.bfloat16, requires_grad=True)
    extractor((feat,), torch.tensor([[0.0, 4, 4, 20, 20]])).sum().backward()
    assert feat.grad.dtype == torch.bfloat16
    assert feat.grad.sum() == 4
