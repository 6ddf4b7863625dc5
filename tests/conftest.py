import shutil
from collections.abc import Callable, Iterator

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer


@pytest.fixture
def forget() -> Callable[[], None]:
    """Drops what mmengine keeps of a run, such as a logger on the stdout of that time.

    Runs of the same second have the same name, under which each class finds its instance again.
    """

    def drop() -> None:
        kept = [MMLogger, DefaultScope, Visualizer]
        while kept:
            kept += (one := kept.pop()).__subclasses__()
            one._instance_dict.clear()

    return drop


@pytest.fixture(autouse=True)
def _no_traces(forget: Callable[[], None]) -> Iterator[None]:
    forget()
    yield
    forget()


@pytest.fixture
def compiler() -> Iterator[None]:
    """A torch.compile that has not seen other sizes, which it would take for dynamic now."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.fixture
def cpp_compiler(compiler: None) -> None:
    """The same where it makes programs for the CPU."""
    if shutil.which('g++') is None:
        pytest.skip('torch.compile needs g++')
