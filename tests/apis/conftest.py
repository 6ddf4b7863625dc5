from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from .folders import make_images, make_work_dir


@pytest.fixture
def work_dir(tmp_path: Path) -> Callable[..., Path]:
    """Makes a folder of a task, as a training leaves it."""
    return partial(make_work_dir, tmp_path)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with four images."""
    return make_images(tmp_path)
