"""Worker processes of data loaders, when a run is told to stop."""

import signal
from collections.abc import Callable

_GRACE = 30  # seconds, of a worker that was told to end


class WorkerInit:
    """Keeps a worker alive when all processes of a run are told to stop.

    The training process needs the batches until it has saved, and a worker that dies is an error
    even if it is idle. The process ends its workers itself.

    Args:
        then: What the loader's configuration calls in each worker.
    """

    def __init__(self, then: Callable[[int], None] | None) -> None:
        self.then = then

    def __call__(self, worker: int) -> None:
        """Set what signals do in this worker."""
        for number in (signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_GRACE))
        if self.then is not None:
            self.then(worker)
