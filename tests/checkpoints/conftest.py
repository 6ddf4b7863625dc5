from collections.abc import Iterator

import pytest
import torch
from mmengine.logging import MMLogger
from torch import Tensor

from mmdwnet import DWNet


@pytest.fixture(autouse=True)
def _new_log() -> Iterator[None]:
    """Lets a test see what it logs: mmengine keeps the stdout of the first who does."""
    MMLogger._instance_dict.clear()
    yield
    MMLogger._instance_dict.clear()


@pytest.fixture(scope='session')
def weights() -> dict[str, Tensor]:
    """A small classifier's weights, in the authors' naming."""
    torch.manual_seed(0)
    head = torch.nn.Linear(256, 10)
    own = {f'head.{key}': value for key, value in head.state_dict().items()}
    return {**DWNet('nano').state_dict(), **own}
