"""The released weights, for mmengine by the name `dwnet://NAME`."""

import os
from pathlib import Path

from mmengine.runner import CheckpointLoader
from torch import Tensor

from mmdwnet.errors import UserError

from . import fetching, official
from .reading import read_foreign

SCHEME = 'dwnet://'
FOLDER_VARIABLE = 'DWNET_CHECKPOINT_DIR'

_DWNETS = 'https://github.com/Atten4Vis/DemystifyLocalViT/releases/download/prerelease'
_SWIN_MLPS = 'https://github.com/SwinTransformer/storage/releases/download/v1.0.5'
_BACKBONES = ('dwnet_tiny', 'dynamic_dwnet_tiny', 'dwnet_base', 'dynamic_dwnet_base')

# Where the authors have the file of each model.
RELEASES: dict[str, str] = {
    **{name: f'{_DWNETS}/{name}_224.pth' for name in _BACKBONES},
    **{
        f'{method}_{name}': f'{_DWNETS}/{method}_{name}.pth'
        for method in ('cascade_mask_rcnn', 'upernet')
        for name in _BACKBONES
    },
    **{
        f'swin_mlp_tiny_{heads}': f'{_SWIN_MLPS}/swin_mlp_tiny_{heads}_patch4_window8_256.pth'
        for heads in ('c24', 'c12', 'c6')
    },
    'swin_mlp_base': f'{_SWIN_MLPS}/swin_mlp_base_patch4_window7_224.pth',
}


@CheckpointLoader.register_scheme(SCHEME, force=True)
def load_from_dwnet(filename: str, map_location: object = None) -> dict:
    """Loads a released checkpoint.

    Its file is looked for in $DWNET_CHECKPOINT_DIR, if set, then in torch hub's cache, and else
    downloaded into the latter.

    Args:
        filename: 'dwnet://NAME', with one of `RELEASES`.
        map_location: Not used: the weights are on the CPU, from where models copy them.

    Returns:
        `state_dict`, with OpenMMLab's keys, and `meta`.

    Raises:
        UserError: There is no such release, its file is neither here nor to be had, or what is
            here is truncated or of another model.
    """
    name = filename.removeprefix(SCHEME)
    if name not in RELEASES:
        raise UserError(f'{filename} is not released: choose one of {", ".join(RELEASES)}')
    url = RELEASES[name]
    file = _given(url) or fetching.fetch(url, lambda part: _read(part, name, url), _folder())
    weights = _read(file, name, str(file))
    return dict(state_dict=official.to_mm(weights), meta=dict(release=name))


def _folder() -> Path | None:
    """Returns the folder of $DWNET_CHECKPOINT_DIR, if set."""
    given = os.environ.get(FOLDER_VARIABLE)
    if given and not Path(given).is_dir():
        raise UserError(
            f'{FOLDER_VARIABLE}={given} is no folder: name the one with the released files, or '
            'unset it'
        )
    return Path(given) if given else None


def _given(url: str) -> Path | None:
    folder = _folder()
    file = folder / fetching.file_name(url) if folder else None
    return file if file and file.is_file() else None


def _read(file: Path, name: str, source: str) -> dict[str, Tensor]:
    """Returns the weights in a file, in the authors' naming, if they are of the model `name`."""
    try:
        weights = official.weights_of(read_foreign(file, source)[0], source)
        found = official.identify(weights, source).name
    except UserError as error:
        raise UserError(f'{error}; for {SCHEME}{name}, get {RELEASES[name]} anew') from error
    if found != name:
        raise UserError(
            f'{source} is {found}, not {name}: for {SCHEME}{name}, get {RELEASES[name]} anew'
        )
    return weights
