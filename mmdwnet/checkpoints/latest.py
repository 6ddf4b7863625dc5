"""The newest whole checkpoint of a work dir."""

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
    named = record.read_text().strip() if record.is_file() else ''
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
                iteration = _iteration(path)
            except UserError as error:
                passed.append(str(error))
                continue
            if iteration is not None and (newest is None or iteration > newest[0]):
                newest = iteration, path
            if newest and not first:
                break
        if newest:
            return str(newest[1]), passed
    return None, passed


def _iteration(path: Path) -> int | None:
    """Return the iteration of a checkpoint, or None if it has only weights."""
    checkpoint = load(str(path))
    return checkpoint['meta']['iter'] if {'meta', 'optimizer'} <= set(checkpoint) else None
