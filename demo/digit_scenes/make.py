"""A whole set of digit scenes."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from ..making import make_once
from .layouts import write_imagenet, write_scenes
from .options import DigitSceneOptions

# Raised whenever the same options give other files than before.
_VERSION = 2


def make_digit_scenes(
    root: str | Path,
    options: DigitSceneOptions | None = None,
    *,
    force: bool = False,
    log: Callable[[str], None] = print,
) -> Path:
    """Make digit scenes at `root`, in the layouts of ImageNet, COCO and ADE20K.

    An interrupted run leaves no partial set. An existing set with the same options is kept.

    Args:
        root: Folder to make; its parents are made as needed.
        options: Sizes, counts and seed; the defaults if None.
        force: Replace a set that was made with other options.
        log: Called with one line of text per step.

    Returns:
        `root`, absolute.

    Raises:
        UserError: `root` holds something else, or cannot be written.
    """
    chosen = options or DigitSceneOptions()

    def write(folder: Path) -> None:
        for split in ('train', 'val'):
            count = write_imagenet(folder, chosen, split)
            log(f'digit scenes: {count} {split} pictures of one digit')
            count = write_scenes(folder, chosen, split)
            log(f'digit scenes: {count} {split} scenes')

    record = {'version': _VERSION, **asdict(chosen)}
    return make_once('digit scenes', root, record, write, force=force, log=log)
