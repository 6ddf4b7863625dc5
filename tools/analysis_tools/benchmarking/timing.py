"""Time several functions in one process, in turn, and measure the memory that they take.

`torch.utils.benchmark` has the clock, which waits for the device, and the statistics. Its `Timer`
is not used: it finishes one function before the next, so that whatever slows the machine for a
while slows one of them; here each round times all of them once.
"""

import gc
import json
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils.benchmark import Measurement, TaskSpec, timer

Step = Callable[[], object]


def time_in_turn(
    steps: Mapping[str, Step], rounds: int, min_seconds: float
) -> dict[str, Measurement]:
    """Time functions over rounds, each of which calls all of them.

    Args:
        steps: The functions by name, warmed up.
        rounds: Number of rounds.
        min_seconds: Faster functions are called repeatedly, for about this long in each round.

    Returns:
        Times in seconds by name, with their median and interquartile range.
    """
    calls = {name: max(1, round(min_seconds / seconds(step))) for name, step in steps.items()}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            times[name].append(seconds(step, calls[name]))
    return {
        name: Measurement(calls[name], raw, TaskSpec(stmt=name, setup='', description=name))
        for name, raw in times.items()
    }


def seconds(step: Step, calls: int = 1) -> float:
    """Time a function once, without warm-up.

    Args:
        step: The function.
        calls: Number of calls.

    Returns:
        Total seconds of all calls.
    """
    start = timer()
    for _ in range(calls):
        step()
    return timer() - start


def saved_bytes(forward: Callable[[], object], parameters: Iterable[Tensor]) -> int:
    """Count what a forward pass keeps for the backward pass.

    Args:
        forward: The pass; it returns a scalar loss, which counts as well.
        parameters: Tensors that are not counted.

    Returns:
        Bytes of all storages saved, each counted once.
    """
    known = {parameter.untyped_storage().data_ptr() for parameter in parameters}
    before = {id(tensor) for tensor in _tensors()}
    saved: list[Tensor] = []

    def pack(x: Tensor) -> Tensor:
        saved.append(x)
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        # The graph lives until it is counted, so that no storage takes the address of another.
        loss = forward()
    # Our hooks do not see what a model's own hooks keep.
    saved += [tensor for tensor in _tensors() if id(tensor) not in before]
    del loss
    storages = {x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in saved}
    return sum(size for pointer, size in storages.items() if pointer not in known)


def peak_bytes(step: Step, device: torch.device) -> int:
    """Measure how much memory a function needs beyond what was allocated before.

    Args:
        step: The function.
        device: Device that it runs on.

    Returns:
        Bytes.
    """
    if device.type == 'cuda':
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        step()
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder, 'trace.json')
        profiler.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())['traceEvents']
    changes = sorted((e['ts'], e['args']['Bytes']) for e in events if e['name'] == '[memory]')
    held = peak = 0
    for _, change in changes:
        held += change
        peak = max(peak, held)
    return peak


def _tensors() -> list[Tensor]:
    """Return all tensors that Python knows of."""
    return [each for each in gc.get_objects() if type(each) is Tensor]
