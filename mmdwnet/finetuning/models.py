"""The models of each task, and the weights that they start from."""

from pathlib import Path

import torch
from mmengine.config import Config

from mmdwnet.apis import hub
from mmdwnet.checkpoints.loading import load
from mmdwnet.checkpoints.releases import SCHEME
from mmdwnet.errors import UserError

from .config import Start

_FOLDERS = {'classify': 'cls', 'detect': 'det', 'segment': 'seg'}
NANO = {
    'classify': 'dwnet_nano',
    'detect': 'cascade_mask_rcnn_dwnet_nano',
    'segment': 'upernet_dwnet_nano',
}
_TINY = {
    'classify': 'dwnet_tiny',
    'detect': 'cascade_mask_rcnn_dwnet_tiny_3x_coco',
    'segment': 'upernet_dwnet_tiny_160k_ade20k',
}
# What the weights of each task's heads begin with.
_HEADS = {'classify': 'head.', 'detect': 'roi_head.', 'segment': 'decode_head.'}


def default_model(task: str) -> str:
    """Return the name of the model for this machine: tiny with a GPU, nano without."""
    return (_TINY if torch.cuda.is_available() else NANO)[task]


def find_config(task: str, name: str) -> Path:
    """Find the config of a model.

    Args:
        task: 'classify', 'detect' or 'segment'.
        name: The model's name.

    Raises:
        UserError: The task has no such model.
    """
    configs = {NANO[task]: hub.root() / f'configs/finetune/{NANO[task]}.py'}
    for listed in hub.list_models():
        path = hub.config_path(listed)
        if path.parent.name == _FOLDERS[task]:
            configs[listed] = path
    if name not in configs:
        raise UserError(f'no model to {task} is named {name!r}: choose one of {", ".join(configs)}')
    return configs[name]


def choose_start(task: str, name: str, given: str | None) -> Start:
    """Choose what a training starts from.

    Args:
        task: 'classify', 'detect' or 'segment'.
        name: The model's name.
        given: A checkpoint; by default the released weights, where they can be had.

    Raises:
        UserError: The given checkpoint cannot be read, or has no weights of a backbone.
    """
    if given is not None:
        weights = load(given)
        keys = [key for key in weights.get('state_dict', weights) if isinstance(key, str)]
        if any(key.startswith(_HEADS[task]) for key in keys):
            return Start('Starts from the given model.', model=given)
        if any(key.startswith('backbone.') for key in keys):
            return Start('Starts from the backbone of the given model.', backbone=given)
        raise UserError(
            f'the checkpoint {given} has no weights named backbone.*: give one that a training of '
            'mmdwnet wrote'
        )
    if name == NANO[task]:
        return Start('Starts from scratch: no weights of the nano models are released.')
    model = hub.find_model(name).weights
    init = Config.fromfile(find_config(task, name)).model.backbone.get('init_cfg') or {}
    backbone = init.get('checkpoint')
    reason = 'none are released'
    for start in (
        Start(f'Starts from the released weights {model}.', model=model),
        Start(f'Starts from the released weights {backbone}.', backbone=backbone),
    ):
        released = start.model or start.backbone
        if released is None or not released.startswith(SCHEME):
            continue
        try:
            load(released)
        except UserError as error:
            reason = str(error)
        else:
            return start
    return Start('Starts from scratch, as released weights could not be loaded.', reason=reason)
