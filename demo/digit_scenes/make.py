"""A whole set of digit scenes, made at once or not at all."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from mmdwnet.errors import UserError

from .layouts import write_imagenet, write_scenes
from .options import DigitSceneOptions

_RECORD = 'digit_scenes.json'
# Raised whenever the same options give different pictures than before.
_VERSION = 1


def make_digit_scenes(
    root: str | Path,
    options: DigitSceneOptions | None = None,
    *,
    force: bool = False,
    log: Callable[[str], None] = print,
) -> Path:
    """Make digit scenes at `root`, in the layouts of ImageNet, COCO and ADE20K.

    They are written next to `root` and renamed when complete, so that an interrupted run leaves
    no partial set. An existing set with the same options is kept.

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
    root = Path(root).resolve()
    options = options or DigitSceneOptions()
    record = {'version': _VERSION, **asdict(options)}
    try:
        if _there_already(root, record, force):
            log(f'digit scenes: {root} is there already; reused')
            return root
        _make(root, options, record, log)
    except OSError as error:
        raise UserError(
            f'digit scenes: cannot write {root} ({error.strerror or error}); '
            'choose a folder that can be written'
        ) from error
    return root


def _there_already(root: Path, record: dict, force: bool) -> bool:
    """Return whether `root` already holds the set that `record` describes.

    Raises:
        UserError: It holds something that must not be replaced.
    """
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    try:
        found = dict(json.loads((root / _RECORD).read_text()))
    except (OSError, ValueError, TypeError):
        raise UserError(
            f'digit scenes: {root} exists and was not made by this command (it has no readable '
            f'{_RECORD}); choose another folder'
        ) from None
    if found == record:
        return True
    if force:
        return False
    changes = ', '.join(
        f'{key} {found.get(key)} there, {record.get(key)} asked'
        for key in sorted(found.keys() | record.keys())
        if found.get(key) != record.get(key)
    )
    raise UserError(
        f'digit scenes: {root} was made with other options ({changes}); '
        'choose another folder, or replace it with --force'
    )


def _make(root: Path, options: DigitSceneOptions, record: dict, log: Callable[[str], None]) -> None:
    partial = root.with_name(f'.{root.name}.partial')
    shutil.rmtree(partial, ignore_errors=True)  # may be left from a killed run
    partial.mkdir(parents=True)
    try:
        for split in ('train', 'val'):
            count = write_imagenet(partial, options, split)
            log(f'digit scenes: {count} {split} pictures of one digit')
            count = write_scenes(partial, options, split)
            log(f'digit scenes: {count} {split} scenes')
        (partial / _RECORD).write_text(json.dumps(record, indent=2) + '\n')
        if root.exists():
            shutil.rmtree(root)
        partial.rename(root)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    log(f'digit scenes: made {root}')
