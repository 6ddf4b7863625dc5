"""Regenerate the weights and inputs of `tests/data/golden`, and read the expected values.

The values come from the authors' code. Weights and inputs are generated from seeds in the JSON
files by the rules below, so no weight file is needed.
"""

import json
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

ROOT = Path(__file__).parents[1] / 'data' / 'golden'
MIXERS = {'dwnet': 'static', 'dynamic_dwnet': 'dynamic', 'i_dynamic_dwnet': 'inhomogeneous'}
SWIN_MLP = 'swin_mlp_'


@dataclass
class Golden:
    """A golden model: its inputs, and the outputs of the authors' code."""

    name: str
    backbone: dict  # config
    state_dict: dict[str, Tensor]
    image: Tensor
    scalars: dict
    arrays: dict[str, np.ndarray]


def load(name: str) -> Golden:
    scalars = json.loads((ROOT / f'{name}.json').read_text())
    image = np.random.RandomState(scalars['input_seed']).standard_normal(scalars['input_shape'])
    return Golden(
        name=name,
        backbone=_backbone(*name.split('_', 1)),
        state_dict={
            key: torch.from_numpy(_weight(key, shape, scalars['weight_seed']))
            for key, shape in scalars['keys'].items()
        },
        image=torch.from_numpy(image.astype(np.float32)),
        scalars=scalars,
        arrays=dict(np.load(ROOT / f'{name}.npz')),
    )


def _backbone(task: str, model: str) -> dict:
    if model.startswith(SWIN_MLP):
        return dict(type='SwinMLP', arch=model.removeprefix(SWIN_MLP))
    variant, arch = model.rsplit('_', 1)
    dense = dict(out_indices=(0, 1, 2, 3), pad_to_window=True) if task == 'dense' else {}
    return dict(type='DWNet', arch=arch, mixer=MIXERS[variant], **dense)


def _weight(key: str, shape: list[int], seed: int) -> np.ndarray:
    rng = np.random.RandomState((zlib.crc32(key.encode()) ^ seed) & 0xFFFFFFFF)
    if key.endswith('num_batches_tracked'):
        return np.zeros(shape, np.int64)
    if key.endswith('running_var'):
        value = rng.uniform(0.5, 1.5, shape)
    elif key.endswith(('running_mean', '.bias')):
        value = 0.1 * rng.standard_normal(shape)
    elif len(shape) == 1:
        value = rng.uniform(0.5, 1.5, shape)
    else:
        value = rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        if '.attn2conv.conv.conv2.' in key:
            value = value / 7
    branch_ends = (
        'attn2conv.bn2.weight',
        'attn2conv.bn2.bias',
        'mlp.fc2.weight',
        'mlp.fc2.bias',
    )
    if key.endswith(branch_ends):
        value = value * 0.2
    return value.astype(np.float32)
