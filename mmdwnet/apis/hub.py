"""Models by name: their configs and their released weights.

A model's name is the stem of its config, such as `cascade_mask_rcnn_dwnet_tiny_3x_coco`; the
metafiles in `configs/` list the names. mmpretrain accepts names from other packages, and `register`
adds ours. mmdet and mmseg (mmengine's `BaseInferencer`) look names up only in the metafiles of
OpenMMLab's own packages; for our names, use `mmdwnet.inferencer`.
"""

import difflib
import fnmatch
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml
from mmengine.config import Config

from mmdwnet.errors import UserError

INDEX = 'model-index.yml'


@dataclass(frozen=True)
class Model:
    """A model, as described in a metafile."""

    config: Path
    weights: str | None  # None where none are released


def root() -> Path:
    """Find the files of mmdwnet besides its code.

    Returns:
        The folder of `configs/`, `tools/`, and `model-index.yml`: in the package if pip built it,
        otherwise the checkout.

    Raises:
        UserError: There is none.
    """
    package = Path(__file__).parents[1]
    for folder in (package / '.mim', package.parent):
        if (folder / INDEX).is_file():
            return folder
    raise UserError(
        f'{package} came without its configs: install mmdwnet by pip, or use a whole checkout'
    )


def metafiles(folder: Path) -> list[Path]:
    """Find the metafiles that list the models."""
    return [folder / path for path in read(folder / INDEX)['Import']]


def read(path: Path) -> dict:
    """Read a metafile as data; mmengine's reader would call what its tags name.

    Args:
        path: The file.

    Returns:
        Its content.

    Raises:
        UserError: It is not a mapping in YAML, or names something to call.
    """
    try:
        content = yaml.safe_load(path.read_bytes())
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        reason = ' '.join(str(error).split())[:200]
        raise UserError(f'the metafile {path} cannot be read as data: {reason}') from error
    if not isinstance(content, dict):
        raise UserError(f'the metafile {path} is not a mapping: install mmdwnet again')
    return content


def register() -> None:
    """Register the classifiers' names with mmpretrain; calling it again changes nothing.

    Raises:
        UserError: The metafiles are missing.
    """
    from mmpretrain import ModelHub  # takes seconds, and finding models does without

    # The detectors and segmentors stay out: mmpretrain would list them, but cannot build them.
    if not ModelHub.has('dwnet_tiny'):
        ModelHub.register_model_index(root() / 'configs/cls/metafile.yml', config_prefix=root())


def list_models(pattern: str = '*') -> list[str]:
    """List the models of all three tasks.

    Args:
        pattern: Pattern that the names match, with shell wildcards.

    Returns:
        The names, sorted.
    """
    return sorted(fnmatch.filter(_models(), pattern))


def config_path(name: str) -> Path:
    """Find the config of a model.

    Args:
        name: One of `list_models()`.

    Returns:
        The file.

    Raises:
        UserError: There is no such model.
    """
    return find_model(name).config


def get_config(name: str) -> Config:
    """Read the config of a model.

    Args:
        name: One of `list_models()`.

    Returns:
        The config.

    Raises:
        UserError: There is no such model.
    """
    return Config.fromfile(config_path(name))


@cache
def _models() -> dict[str, Model]:
    folder = root()
    found = {}
    for metafile in metafiles(folder):
        for model in read(metafile)['Models']:
            found[model['Name']] = Model(folder / model['Config'], model.get('Weights'))
    return found


def find_model(name: str) -> Model:
    """Find a model."""
    if name not in _models():
        near = difflib.get_close_matches(name, _models(), n=3)
        meant = f'did you mean {" or ".join(near)}? ' if near else ''
        raise UserError(f'no model is named {name!r}: {meant}mmdwnet.list_models() gives all names')
    return _models()[name]
