"""Sets of pictures that are made at once or not at all, and their commands."""

import argparse
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path

from mmdwnet.errors import UserError

Log = Callable[[str], None]


def make_once(
    name: str,
    root: str | Path,
    record: dict,
    write: Callable[[Path], None],
    *,
    force: bool,
    log: Log,
) -> Path:
    """Make a set of pictures at `root`.

    It is written next to `root` and renamed when complete, so that an interrupted run leaves no
    partial set. An existing set with the same record is kept.

    Args:
        name: Its name in messages, such as 'digit scenes'.
        root: Folder to make; its parents are made as needed.
        record: What decides its contents; written into it as JSON.
        write: Called with the folder to write into.
        force: Replace a set with another record.
        log: Called with one line of text per step.

    Returns:
        `root`, absolute.

    Raises:
        UserError: `root` holds something else, or cannot be written.
    """
    root = Path(root).resolve()
    try:
        if _there_already(name, root, record, force):
            log(f'{name}: {root} is there already; reused')
            return root
        _make(name, root, record, write)
    except OSError as error:
        raise UserError(
            f'{name}: cannot write {root} ({error.strerror or error}); '
            'choose a folder that can be written'
        ) from error
    log(f'{name}: made {root}')
    return root


def _record_name(name: str) -> str:
    return name.replace(' ', '_') + '.json'


def _there_already(name: str, root: Path, record: dict, force: bool) -> bool:
    """Return whether `root` already holds the set that `record` describes.

    Raises:
        UserError: It holds something that must not be replaced.
    """
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    try:
        found = dict(json.loads((root / _record_name(name)).read_text()))
    except (OSError, ValueError, TypeError):
        raise UserError(
            f'{name}: {root} exists and was not made by this command (it has no readable '
            f'{_record_name(name)}); choose another folder'
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
        f'{name}: {root} was made with other options ({changes}); '
        'choose another folder, or replace it with --force'
    )


def _make(name: str, root: Path, record: dict, write: Callable[[Path], None]) -> None:
    partial_set = root.with_name(f'.{root.name}.partial')
    shutil.rmtree(partial_set, ignore_errors=True)  # may be left from a killed run
    partial_set.mkdir(parents=True)
    try:
        write(partial_set)
        (partial_set / _record_name(name)).write_text(json.dumps(record, indent=2) + '\n')
        if root.exists():
            shutil.rmtree(root)
        partial_set.rename(root)
    finally:
        shutil.rmtree(partial_set, ignore_errors=True)


def run(description: str, options_class: type, make: Callable[..., Path]) -> int:
    """Make the set that the command line asks for.

    Args:
        description: What the command does.
        options_class: A dataclass; each of its fields is an option.
        make: Called with the folder, the options, `force` and `log`.

    Returns:
        The exit code: 0, or 2 on bad input.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('root', type=Path, help='folder to make')
    parser.add_argument('--force', action='store_true', help='replace a set with other options')
    for field in fields(options_class):
        name, kind = '--' + field.name.replace('_', '-'), type(field.default)
        parser.add_argument(name, type=kind, default=field.default, help='default: %(default)s')
    args = vars(parser.parse_args())
    root, force = args.pop('root'), args.pop('force')
    try:
        make(root, options_class(**args), force=force, log=partial(print, flush=True))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0
