"""How many images fit into memory at once."""

from pathlib import Path

import torch
from torch import Tensor, nn

# What a whole model keeps for the backward pass, in multiples of what its backbone keeps.
_WITH_HEADS = {'classify': 1.2, 'detect': 3.0, 'segment': 3.0}
_SHARE = 0.6  # of the free memory; the rest is for cuDNN, data loading and other programs
_STATES = 16  # bytes per parameter: itself, its gradient, and AdamW's two moments
_PROBE = 224  # pixels, the largest size that is tried
_CGROUP = Path('/sys/fs/cgroup')


def fitting_batch(backbone: nn.Module, task: str, size: int, most: int) -> int:
    """Return how many images of a training step fit into the free memory.

    Args:
        backbone: The backbone, on the CPU.
        task: 'classify', 'detect' or 'segment'.
        size: Height and width of the images in pixels.
        most: The largest number of interest.

    Returns:
        The number of images, from 2 to `most`.
    """
    states = _STATES * sum(parameter.numel() for parameter in backbone.parameters())
    probe = min(size, _PROBE)
    image = saved_bytes(backbone, probe) * (size / probe) ** 2
    room = _SHARE * free_bytes() / _WITH_HEADS[task] - states
    images = int(room / image)
    return max(2, min(most, images))


def saved_bytes(backbone: nn.Module, size: int) -> int:
    """Return how many bytes autograd keeps of one image for the backward pass.

    Args:
        backbone: The backbone, on the CPU.
        size: Height and width of the image in pixels.
    """
    parameters = {parameter.data_ptr() for parameter in backbone.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if tensor.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        # Its graph keeps the tensors, so that no storage comes twice.
        graph = backbone.eval()(torch.zeros(1, 3, size, size))
    del graph
    return sum(kept.values())


def free_bytes() -> int:
    """Return the free bytes of the GPU, or of the machine if it has none."""
    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0]
    lines = Path('/proc/meminfo').read_text().splitlines()
    (available,) = (line.split()[1] for line in lines if line.startswith('MemAvailable:'))
    free = int(available) * 1024
    limit, used = _CGROUP / 'memory.max', _CGROUP / 'memory.current'  # of a container
    if limit.is_file() and used.is_file() and limit.read_text().strip() != 'max':
        free = min(free, int(limit.read_text()) - int(used.read_text()))
    return free
