"""The newest, or the best, whole checkpoint of a work dir."""

from numbers import Integral
from pathlib import Path

from mmdwnet.errors import UserError

from .loading import load

RECORD = 'last_checkpoint'


def find_latest(work_dir: str, since: float = 0) -> tuple[str | None, list[str]]:
    """Find the newest checkpoint of a training that reads whole and can be resumed from.

    The file `last_checkpoint` names it, unless a kill came between the two, or damage after it.

    Args:
        work_dir: The folder of the training.
        since: Checkpoints from before this time, in seconds since the epoch, do not count.

    Returns:
        The checkpoint's path, or None, and why each one that seemed newer was passed over.
    """
    folder, passed = Path(work_dir), []
    record = folder / RECORD
    named = record.read_text(errors='replace').strip() if record.is_file() else ''
    # mmengine's own hook writes a path from the current folder, which may have moved since.
    likely = {folder / named, folder / Path(named).name} if named else set()
    written = record.stat().st_mtime_ns if named else 0
    found = {path: path.stat().st_mtime_ns for path in folder.glob('*.pth')}
    found = {path: time for path, time in found.items() if time >= since * 1e9}
    order = sorted(found, key=lambda path: found[path], reverse=True)
    newest: tuple[int, Path] | None = None
    for first in (True, False):
        for path in order:
            if (path in likely or found[path] > written) != first:
                continue
            try:
                meta = training_meta(str(path))
            except UserError as error:
                passed.append(str(error))
                continue
            if meta is not None and (newest is None or meta['iter'] > newest[0]):
                newest = meta['iter'], path
            if newest and not first:
                break
        if newest:
            return str(newest[1]), passed
    return None, passed


def find_best(work_dir: str | Path) -> tuple[str | None, list[str]]:
    """Find the newest of the checkpoints `best_*.pth`, or as `find_latest` if there are none.

    Args:
        work_dir: The folder of the training.

    Returns:
        As from `find_latest`.
    """
    best = sorted(Path(work_dir).glob('best_*.pth'), key=lambda path: path.stat().st_mtime_ns)
    return (str(best[-1]), []) if best else find_latest(str(work_dir))


def training_meta(path: str) -> dict | None:
    """Return the `meta` of a checkpoint to resume from, or None if it has only weights.

    Raises:
        UserError: It cannot be read, or says nothing sensible of where its training was.
    """
    checkpoint = load(path)
    if not {'meta', 'optimizer'} <= set(checkpoint):
        return None
    meta = checkpoint['meta']
    place = [meta.get(key) for key in ('epoch', 'iter')] if isinstance(meta, dict) else []
    seed = meta.get('seed') if place else None
    if not place or not all(_is_number(number, 2**63) for number in place):
        problem = 'epoch and iteration that are counts'
    elif seed is not None and not _is_number(seed, 2**32):
        problem = 'a seed that is a number below 2**32'
    else:
        return meta
    raise UserError(
        f'the checkpoint {path} has no {problem}, so training cannot be resumed from it: name one '
        'that mmengine wrote'
    )


def _is_number(value: object, end: int) -> bool:
    return isinstance(value, Integral) and 0 <= int(value) < end
