"""Random numbers that depend on their place in a training alone, not on what came before."""

import hashlib
import random

import numpy as np
import torch


def seed(*place: int) -> None:
    """Seed the CPU generators of Python, numpy and torch.

    Args:
        place: Integers that tell one place from another: seed, rank, iteration.
    """
    # A hash takes an eighth of the time of numpy's SeedSequence, which counts for small images.
    digest = hashlib.blake2b(repr(place).encode(), digest_size=8).digest()
    number = int.from_bytes(digest, 'little')
    random.seed(number)
    np.random.seed(number % 2**32)
    torch.default_generator.manual_seed(number)


def seed_devices(*place: int) -> None:
    """Do the same, and seed the GPUs, too."""
    seed(*place)
    if torch.accelerator.is_available():  # else it would keep the call for one, which takes time
        torch.manual_seed(torch.initial_seed())
