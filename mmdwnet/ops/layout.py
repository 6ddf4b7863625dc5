"""The memory format that an operator works in: its input's."""

import torch
from torch import Tensor


def memory_format(x: Tensor) -> torch.memory_format:
    """Return channels-last where the channels of a position lie side by side, as in a crop of it.

    Where both formats are the same memory, such as for maps of one position, it is channels-last.
    """
    return torch.channels_last if x.stride(1) == 1 else torch.contiguous_format
