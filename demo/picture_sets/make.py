"""All picture sets, from Debian packages."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from mmdwnet.errors import UserError

from ..making import make_once
from .drawings import split_drawings
from .fashion import write_fashion
from .layouts import write_scenes
from .scenes import draw_scene

# Raised whenever the same options give different pictures than before.
_VERSION = 1
_PACKAGES = {
    'dataset-fashion-mnist': 'datasets/fashion-mnist',
    'openclipart-png': 'openclipart/png',
    'plasma-workspace-wallpapers': 'wallpapers',
}


@dataclass(frozen=True)
class PictureSetOptions:
    """Counts; the same ones give the same files.

    Attributes:
        clothes: Training images of clothes per class; a sixth as many are for validation.
        scenes: Training scenes; a sixth as many are for validation.
        share: The folder that packages install into.
    """

    clothes: int = 600
    scenes: int = 600
    share: str = '/usr/share'

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            UserError: A count is too low.
        """
        for name in ('clothes', 'scenes'):
            if getattr(self, name) < 6:
                raise UserError(
                    f'picture sets: {name} is {getattr(self, name)}; it must be at least 6'
                )


def make_picture_sets(
    root: str | Path,
    options: PictureSetOptions,
    *,
    force: bool = False,
    log: Callable[[str], None] = print,
) -> Path:
    """Make `fashion`, photographs of clothes, and `scenes`, drawings on wallpapers, at `root`.

    An interrupted run leaves no partial set. An existing set with the same options is kept.

    Args:
        root: Folder to make; its parents are made as needed.
        options: Counts, and where the packages are.
        force: Replace a set that was made with other options.
        log: Called with one line of text per step.

    Returns:
        `root`, absolute.

    Raises:
        UserError: A package is missing, or `root` holds something else or cannot be written.
    """
    folders = {name: Path(options.share) / folder for name, folder in _PACKAGES.items()}
    missing = [name for name, folder in folders.items() if not folder.is_dir()]
    if missing:
        raise UserError(
            f'picture sets: there is no folder {folders[missing[0]]}; install the pictures with '
            f'apt-get install {" ".join(missing)}'
        )

    def write(folder: Path) -> None:
        fashion, clipart, wallpapers = folders.values()
        counts = {'train': options.clothes, 'val': options.clothes // 6}
        write_fashion(fashion, folder / 'fashion', counts)
        log(f'picture sets: {counts["train"]} + {counts["val"]} clothes per class')
        for number, (split, drawings) in enumerate(split_drawings(clipart).items()):
            count = {'train': options.scenes, 'val': options.scenes // 6}[split]
            rngs = (np.random.default_rng([number, index]) for index in range(count))
            scenes = (draw_scene(wallpapers, split, drawings, rng) for rng in rngs)
            write_scenes(folder / 'scenes', split, scenes)
            log(f'picture sets: {count} {split} scenes of {len(drawings)} drawings')

    record = {'version': _VERSION, **asdict(options)}
    return make_once('picture sets', root, record, write, force=force, log=log)
