"""Random numbers that depend on their place in a training alone, not on what came before."""

import random

import numpy as np
import torch


def seed(*place: int) -> None:
    """Seed the CPU generators of Python, numpy and torch.

    Args:
        place: Non-negative integers that tell one place from another: seed, rank, iteration.
    """
    words = np.random.SeedSequence(place).generate_state(4)
    number = int.from_bytes(words[:2].tobytes(), 'little')
    random.seed(number)
    np.random.seed(words)
    torch.default_generator.manual_seed(number)


def seed_devices(*place: int) -> None:
    """Do the same, and seed the GPUs, too."""
    seed(*place)
    torch.manual_seed(torch.initial_seed())
