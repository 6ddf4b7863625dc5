"""Every hostile file through what reads checkpoints: nothing runs, and little is spent on it."""

from functools import partial
from pathlib import Path

import pytest
import torch
from mmengine.runner import CheckpointLoader
from torch import nn

from mmdwnet import DWNet
from mmdwnet.checkpoints import official
from mmdwnet.checkpoints.fitting import check_resumable, check_some_weights
from mmdwnet.checkpoints.latest import find_latest
from mmdwnet.checkpoints.loading import as_data
from mmdwnet.checkpoints.reading import read_foreign
from mmdwnet.errors import UserError

from ..bounds import in_child
from . import authors, hostile, payloads

# At most so much may be spent on a file, of any size that `hostile` has.
SECONDS, BYTES, PER_BYTE = 10, 2**29, 16
OWN = ('start', 'resume')  # ways to use a checkpoint of mmengine's
# Data, though strange, beside weights that are used.
_HARMLESS = ('opcodes: complex number of text', 'file: a pickle in capitals')
# Torch 2.9 would read memory behind the file's.
_SHORT = {
    f'file: {kind}'
    for kind in (
        'a storage of a few bytes',
        'a storage in capitals, of a few bytes',
        'a tensor for the class of a storage',
        'bytes for the key of a storage',
    )
}


@pytest.fixture(scope='module')
def model() -> nn.Module:
    """A classifier with mmpretrain's names."""
    torch.manual_seed(0)
    official._backbones(dense=False)  # kept, so that no child makes them anew
    made = nn.Module()
    made.backbone = DWNet('nano')
    made.head = nn.Module()
    made.head.fc = nn.Linear(256, 10)
    return made


@pytest.fixture(scope='module')
def checkpoint(model: nn.Module) -> dict:
    """What an honest checkpoint of the model has in it."""
    return dict(
        meta=dict(epoch=1, iter=10, seed=0),
        state_dict=model.state_dict(),
        optimizer=torch.optim.AdamW(model.parameters()).state_dict(),
        param_schedulers=[],
        message_hub=dict(log_scalars={}, runtime_info={}, resumed_keys={}),
    )


def by_mmengine(path: str) -> None:
    """Read a file as a Runner does within our commands."""
    with as_data():
        CheckpointLoader.load_checkpoint(path, map_location='cpu')


def by_convert(path: str) -> None:
    """Read a file as the converter does."""
    weights = official.weights_of(read_foreign(path)[0], path)
    official.identify(official.to_official(weights), path)


@pytest.mark.parametrize('kind', hostile.KINDS)
def test_hostile_files(tmp_path: Path, model: nn.Module, checkpoint: dict, kind: str) -> None:
    trace = tmp_path / 'trace'
    path = hostile.write(kind, tmp_path, checkpoint, trace)
    ways = {
        'mmengine': by_mmengine,
        'newest': lambda path: find_latest(str(Path(path).parent)),
        'start': partial(check_some_weights, model=model),
        'resume': partial(check_resumable, model=model),
        'convert': by_convert,
    }

    def run() -> dict[str, str]:
        said = {}
        with payloads.harm() as harmed, authors.extension():
            for name, read in ways.items():
                if 'mmengine' in said and name != 'convert':
                    continue  # they read it as that did
                try:
                    read(str(path))
                except UserError as error:
                    said[name] = str(error)
                    # The limit on memory is there to be noticed, not to be needed.
                    cause = repr(error.__cause__)
                    assert 'MemoryError' not in cause and 'allocate' not in cause, cause
        assert not harmed
        return said

    outcome = in_child(run)
    assert isinstance(outcome.said, dict), outcome
    assert not trace.exists()
    assert outcome.seconds < SECONDS, outcome
    assert outcome.bytes < BYTES + PER_BYTE * path.stat().st_size, outcome
    assert refusing(kind) <= {*outcome.said, *(OWN if 'mmengine' in outcome.said else ())}
    for said in outcome.said.values():
        assert path.name in said and '\n' not in said and len(said) < 1000, said


def refusing(kind: str) -> set[str]:
    """Return the ways that cannot use a file."""
    group = kind.partition(':')[0]
    if group == 'resumed' or kind in _HARMLESS:
        return set()
    if kind in _SHORT:
        return {'mmengine', *OWN, 'convert'}
    if group in ('call', 'fill'):  # the converter has inert stand-ins for these
        return {'mmengine', *OWN}
    return {*OWN, 'convert'}


def test_honest_files_are_used(tmp_path: Path, model: nn.Module, checkpoint: dict) -> None:
    """Without this, the test above could pass for the wrong reason."""
    path = str(tmp_path / 'honest.pth')
    torch.save(checkpoint, path)
    by_mmengine(path)
    check_some_weights(path, model)
    check_resumable(path, model)
    by_convert(path)
    assert find_latest(str(tmp_path)) == (path, [])
