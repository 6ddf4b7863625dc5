"""Bytes of small steps, against counts by hand."""

import torch
import torch.nn.functional as F  # noqa: N812
from benchmarking.moved_bytes import MovedBytes

FLOAT = 4  # bytes


def counted(function, *args) -> dict[str, int]:
    with MovedBytes() as count:
        function(*args)
    return {key: value for key, value in count.by_operator.items() if value}


def test_linear_layer() -> None:
    n, k, m = 3, 5, 7
    x = torch.randn(n, k)
    weight = torch.randn(m, k, requires_grad=True)

    def step() -> None:
        F.linear(x, weight).sum().backward()

    assert counted(step) == {
        # The product and the gradient for the weight, with one value for all of the sum.
        'mm': FLOAT * ((n * k + k * m + n * m) + (1 + n * k + k * m)),
        'sum': FLOAT * (n * m + 1),
        'ones_like': FLOAT,  # written, not read
    }


def test_convolution_with_kernels_of_ours() -> None:
    from mmdwnet import ops

    x, weight = torch.randn(2, 4, 6, 5), torch.randn(4, 3, 3)
    (size,) = counted(ops.depthwise_conv2d, x, weight).values()
    assert size == FLOAT * (2 * x.numel() + weight.numel())


def test_views_and_allocations_are_free() -> None:
    x = torch.randn(4, 6)
    assert not counted(lambda: (x.view(6, 4).t()[1:], x.expand(2, 4, 6), torch.empty_like(x)))


def test_writing_in_place() -> None:
    x, y, half = torch.randn(10), torch.randn(10), torch.randn(10).half()
    assert counted(x.add_, y) == {'add_': FLOAT * 3 * 10}
    assert counted(x.zero_) == {'zero_': FLOAT * 10}
    assert counted(x.copy_, half) == {'copy_': (FLOAT + 2) * 10}
    assert counted(torch._foreach_add_, [x, y], 1) == {'_foreach_add_': FLOAT * 2 * 20}


def test_broadcast_tensors_count_as_they_lie_in_memory() -> None:
    x = torch.randn(4, 1)
    assert counted(torch.add, x.expand(4, 8), x.expand(4, 8)) == {'add': FLOAT * (4 + 4 + 32)}
