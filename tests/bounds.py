"""Calls in a child process, with their time and memory measured and limited."""

import json
import os
import resource
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_SECONDS, _ADDRESSES = 20, 2**32  # after which the child is ended, and refused more memory


@dataclass
class Outcome:
    """What became of a call.

    Args:
        said: What it returned.
        seconds: The CPU time that it took.
        bytes: By how much the resident memory grew at most.
    """

    said: object
    seconds: float
    bytes: int


def in_child(call: Callable[[], object]) -> Outcome:
    """Run a call in a fork of this process.

    Args:
        call: What it returns has to fit into JSON.

    Returns:
        What became of it.

    Raises:
        AssertionError: The child did not come to an end by itself.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            _limit()
            before, start = _memory('VmRSS'), time.process_time()
            said = call()
            outcome = said, time.process_time() - start, _memory('VmHWM') - before
            os.write(writer, json.dumps(outcome).encode())
        except BaseException as error:
            os.write(writer, json.dumps([f'{error!r}', 0, 0]).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, 'rb') as stream:
        content = stream.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        raise AssertionError(f'ended by {signal.Signals(os.WTERMSIG(status)).name}')
    return Outcome(*json.loads(content))


def _limit() -> None:
    Path('/proc/self/clear_refs').write_text('5')  # begin anew with the highest memory
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    now = resource.getrusage(resource.RUSAGE_SELF)
    spent = int(now.ru_utime + now.ru_stime)
    resource.setrlimit(resource.RLIMIT_CPU, (spent + _SECONDS, most))
    resource.setrlimit(resource.RLIMIT_AS, (_memory('VmSize') + _ADDRESSES,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _memory(name: str) -> int:
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith(f'{name}:'):
            return int(line.split()[1]) * 1024
    raise KeyError(name)
