import time

import torch
from benchmarking.timing import peak_bytes, saved_bytes, time_in_turn


def test_rounds_go_in_turn() -> None:
    calls = []
    times = time_in_turn({n: lambda n=n: calls.append(n) for n in 'abc'}, rounds=4, min_seconds=0)
    assert calls == list('abc') * (1 + 4)  # once to estimate their time
    assert all(len(measured.times) == 4 for measured in times.values())


def test_times_are_per_call() -> None:
    times = time_in_turn({'sleep': lambda: time.sleep(0.01)}, rounds=3, min_seconds=0.05)
    assert 0.01 <= times['sleep'].median < 0.05
    assert times['sleep'].number_per_run > 1


def test_saved_storages_count_once_and_parameters_not() -> None:
    weight = torch.randn(1000, 1000, requires_grad=True)
    x = torch.randn(1000, 1000)

    def forward() -> torch.Tensor:
        # Saves x (twice as a view) and its repetition, and weight for the square.
        return ((weight * x) * x[:500].repeat(2, 1) + weight * x.T + weight**2).sum()

    loss = weight.nbytes // weight.numel()
    assert saved_bytes(forward, [weight]) == 2 * x.nbytes + loss
    assert saved_bytes(forward, []) == 3 * x.nbytes + loss


def test_peak_is_what_is_held_at_once() -> None:
    x = torch.zeros(2**20)

    def step() -> None:
        y = x + 1
        y = y + 1  # two at the same time
        del y
        x + 1

    peak = peak_bytes(step, torch.device('cpu'))
    assert 2 * x.nbytes <= peak < 2.1 * x.nbytes
