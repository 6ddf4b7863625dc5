import pytest
import torch
from torch import Tensor

from mmdwnet import DWNet


@pytest.fixture(scope='session')
def weights() -> dict[str, Tensor]:
    """A small classifier's weights, in the authors' naming."""
    torch.manual_seed(0)
    head = torch.nn.Linear(256, 10)
    own = {f'head.{key}': value for key, value in head.state_dict().items()}
    return {**DWNet('nano').state_dict(), **own}
