"""The memory format that an operator works in: its input's."""

import torch
from torch import Tensor


def memory_format(x: Tensor) -> torch.memory_format:
    """Return channels-last if the channels of a position are adjacent, which holds for crops, too.

    If both formats have the same layout, such as for maps of one position, it is channels-last.
    """
    return torch.channels_last if x.stride(1) == 1 else torch.contiguous_format
