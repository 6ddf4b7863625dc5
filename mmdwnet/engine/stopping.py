"""Requests to stop: signals, which all processes of a run obey after the same iteration."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from torch import distributed

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
_PATIENCE = 1  # seconds
EXIT_CODE = 75  # of sysexits.h: a temporary failure, try again


class Stopped(SystemExit):
    """The run was told to stop and has saved where it is; exits with `EXIT_CODE`."""

    def __init__(self) -> None:
        super().__init__(EXIT_CODE)


@contextmanager
def at_once() -> Iterator[None]:
    """Stop at once on SIGTERM and SIGUSR1 where nothing has to be saved yet.

    Raises:
        Stopped: One of them came, and no `StopRequest` was waiting for it.
        KeyboardInterrupt: Ctrl-C, likewise. Both also where a library has caught every exception
            and raised its own, as mmengine does while it formats a config.
    """

    def stop(*_: object) -> None:
        raise Stopped

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, KeyboardInterrupt | Stopped):
            cause = cause.__context__
        if cause is None:
            raise
        raise cause from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class StopRequest:
    """Waits for a signal in any process, and has all of them stop together.

    A second Ctrl-C interrupts at once. (The first may come twice, from terminal and launcher.)
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.decided = False  # whether all processes have agreed to stop
        self._first = float('inf')
        self._before: dict[int, Callable | int | None] = {}
        self._group: Any = None  # of processes
        self._asked: tuple[torch.Tensor, distributed.Work] | None = None

    def listen(self) -> None:
        """Begin to wait."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        if distributed.is_initialized():
            # On the CPU, as asking the GPU would wait for it.
            self._group = distributed.new_group(backend='gloo')

    def close(self) -> None:
        """Stop waiting."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
        if self._asked is not None:
            self._asked[1].wait()
            self._asked = None
        if self._group is not None:
            # Its threads would outlive the interpreter, which would abort the process.
            distributed.destroy_process_group(self._group)
            self._group = None

    def agreed(self) -> bool:
        """Return whether all processes stop now; each asks once per iteration."""
        if self._group is None:
            self.decided = self.received is not None
            return self.decided
        # The answer to the last question, so that nobody waits for it.
        before, flag = self._asked, torch.tensor([self.received is not None], dtype=torch.int)
        work = distributed.all_reduce(
            flag, distributed.ReduceOp.MAX, group=self._group, async_op=True
        )
        self._asked = flag, work
        if before is not None:
            before[1].wait()
            self.decided = self.decided or bool(before[0])
        return self.decided

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if number == signal.SIGINT and now - self._first > _PATIENCE:
            signal.signal(number, self._before[number])
            signal.raise_signal(number)
        self.received, self._first = number, min(self._first, now)
