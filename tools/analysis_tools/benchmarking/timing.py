"""Timing several functions in one process, in turn, and the memory that they take.

`torch.utils.benchmark` has the clock, which waits for the device, and the statistics. Its `Timer`
is not used: it measures one function to the end before the next, so that whatever slows the
machine for a while slows one of them; here each round times every one of them once.
"""

import gc
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils.benchmark import Measurement, TaskSpec, timer

Step = Callable[[], object]


def time_in_turn(
    steps: Mapping[str, Step], rounds: int, min_seconds: float
) -> dict[str, Measurement]:
    """Times functions over rounds, each of which calls all of them.

    Args:
        steps: The functions by name, warmed up.
        rounds: Number of rounds.
        min_seconds: Functions that are quicker are called repeatedly for about so long per round.

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
    """Times a function, once and without warm-up.

    Args:
        step: The function.
        calls: How often to call it.

    Returns:
        Seconds that all calls took together.
    """
    start = timer()
    for _ in range(calls):
        step()
    return timer() - start


def saved_bytes(forward: Callable[[], object], parameters: Iterable[Tensor]) -> int:
    """Counts what a forward pass keeps for the backward pass.

    Args:
        forward: The pass; it returns a scalar loss, which counts as well.
        parameters: Tensors that are there anyway.

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
        # Its graph is alive until counted, so that no storage takes another's address.
        loss = forward()
    # Where a model has hooks of its own, ours do not see what those keep.
    saved += [tensor for tensor in _tensors() if id(tensor) not in before]
    del loss
    storages = {x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in saved}
    return sum(size for pointer, size in storages.items() if pointer not in known)


def peak_bytes(step: Step, device: torch.device) -> int:
    """Measures how much memory a function needs beyond what was there before.

    Args:
        step: The function.
        device: Where it runs.

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
    events = profiler.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == '[memory]')
    held = peak = 0
    for _, change in changes:
        held += change
        peak = max(peak, held)
    return peak


def _tensors() -> list[Tensor]:
    """Returns all tensors that Python knows of."""
    return [each for each in gc.get_objects() if type(each) is Tensor]
