"""What an exported model does to its images first."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mmdwnet.errors import UserError
from mmdwnet.models.maps import missing


class Inputs(nn.Module):
    """Normalize images, and pad them at the bottom and right, as a data preprocessor does.

    Args:
        settings: `data_preprocessor` of the config of a model.
        normalize: Whether images are uint8; if not, they are normalized already.

    Attributes:
        rgb: Whether the network takes RGB; if not, BGR.

    Raises:
        UserError: Images are padded to a fixed size.
    """

    def __init__(self, settings: Mapping[str, Any], normalize: bool) -> None:
        super().__init__()
        test = settings.get('test_cfg') or {}  # mmseg's
        if test.get('size') is not None:
            raise UserError(
                f'the data_preprocessor pads test images to {test["size"]}, which is not '
                'exported: give test_cfg=dict(size_divisor=...), or none'
            )
        self.divisor = test.get('size_divisor') or settings.get('pad_size_divisor', 1)
        self.value = settings.get('pad_val', settings.get('pad_value', 0))
        self.rgb = any(settings.get(key) for key in ('to_rgb', 'bgr_to_rgb', 'rgb_to_bgr'))
        self.normalize = normalize
        self.mean: Tensor
        self.std: Tensor
        for name, default in (('mean', 0), ('std', 1)):
            value = torch.tensor(settings.get(name) or [default] * 3, dtype=torch.float32)
            self.register_buffer(name, value[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        """Prepare images for the network.

        Args:
            images: (N, 3, H, W), uint8 to be normalized, or float32. Channels are in the order that
                the network takes.

        Returns:
            (N, 3, H', W'), float32, where the divisor divides H' and W'.
        """
        x = (images.float() - self.mean) / self.std if self.normalize else images
        if self.divisor == 1:
            return x
        bottom, right = (missing(size, self.divisor) for size in x.shape[-2:])
        return F.pad(x, (0, right, 0, bottom), value=self.value)

    @property
    def color(self) -> list[int]:
        """The mean color in RGB, which normalization makes about 0."""
        mean = [round(value) for value in self.mean.flatten().tolist()]
        return mean if self.rgb else mean[::-1]
