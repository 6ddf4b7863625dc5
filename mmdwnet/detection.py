"""What detectors need for training in bfloat16.

Importing this imports mmdet, which takes seconds: detectors' configs ask for it in their
`custom_imports`.
"""

from collections.abc import Sequence

from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmengine.registry import MODELS
from torch import Tensor


@MODELS.register_module()
class Float32RoIExtractor(SingleRoIExtractor):
    """mmdet's SingleRoIExtractor, computed in float32 whatever the dtype of the maps.

    mmdet converts the boxes to the maps' dtype, in which a coordinate above 1024 would be rounded
    to a multiple of 8 pixels (bfloat16) or of 1 (float16).
    """

    def forward(
        self, feats: Sequence[Tensor], rois: Tensor, roi_scale_factor: float | None = None
    ) -> Tensor:
        """Extract the features of boxes.

        Args:
            feats: Maps of all levels, each (N, C, H_i, W_i), of any floating dtype.
            rois: Boxes, (n, 5): index in the batch, x1, y1, x2, y2 in pixels, float32.
            roi_scale_factor: Scale of the boxes about their centers; None leaves them as they are.

        Returns:
            (n, C, h, w), float32.
        """
        return super().forward([feat.float() for feat in feats], rois, roi_scale_factor)
