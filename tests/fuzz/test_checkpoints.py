"""Checkpoints with bytes, keys and tensors changed: used as they are, or refused in a sentence."""

import io
import tempfile
from collections import OrderedDict
from pathlib import Path

import torch
from hypothesis import strategies as st
from torch import nn

from mmdwnet import DWNet
from mmdwnet.checkpoints.fitting import check_all_weights, check_resumable, check_some_weights
from mmdwnet.checkpoints.latest import find_latest
from mmdwnet.checkpoints.reading import read_foreign
from mmdwnet.cli import convert
from mmdwnet.errors import UserError

from ..checkpoints.hostile import rewritten
from .fuzzing import fuzz
from .test_archive import EDITS, edit

torch.manual_seed(0)
MODEL = nn.ModuleDict(dict(backbone=DWNet(dict(embed_dims=4, depths=(1, 1, 1, 1)))))
NANO = OrderedDict(DWNet('nano').state_dict()) | {
    'head.weight': torch.ones(10, 256),
    'head.bias': torch.ones(10),
}


def saved(checkpoint: object, zipped: bool = True) -> bytes:
    file = io.BytesIO()
    torch.save(checkpoint, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


OWN = dict(
    meta=dict(epoch=1, iter=2, seed=3), state_dict=MODEL.state_dict(), optimizer=dict(state={})
)
FILES = {zipped: saved(OWN, zipped) for zipped in (True, False)}


def use(content: bytes) -> None:
    """Read a file in every way."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'x.pth'
        path.write_bytes(content)
        for read in (
            lambda: check_all_weights(str(path), MODEL),
            lambda: check_some_weights(str(path), MODEL),
            lambda: check_resumable(str(path), MODEL),
            lambda: find_latest(folder),
            lambda: read_foreign(path),
        ):
            try:
                read()
            except UserError as error:
                assert '\n' not in str(error) and len(str(error)) < 2000


@fuzz(40, zipped=st.booleans(), edits=EDITS)
def test_files(zipped: bool, edits: list) -> None:
    use(edit(FILES[zipped], edits))


@fuzz(40, edits=EDITS)
def test_pickles(edits: list) -> None:
    use(rewritten(FILES[True], lambda pickle: edit(pickle, edits)))


VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=5),
        st.binary(max_size=5),
        st.lists(st.integers(0, 3), max_size=3).map(torch.ones),
        st.just(torch.ones(2, device='meta')),
        st.just(torch.ones(2, dtype=torch.complex64)),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner),
        st.dictionaries(
            st.one_of(st.text(max_size=3), st.integers(), st.sampled_from([*OWN, 'epoch', 'iter'])),
            inner,
            max_size=3,
        ),
    ),
    max_leaves=6,
)


@fuzz(
    30,
    changes=st.dictionaries(
        st.sampled_from([*OWN, 'message_hub', 'param_schedulers', 'model', '']), VALUES, max_size=2
    ),
    weights=st.dictionaries(
        st.one_of(st.sampled_from(sorted(MODEL.state_dict())), st.text(max_size=3), st.integers()),
        VALUES,
        max_size=2,
    ),
)
def test_parts(changes: dict, weights: dict) -> None:
    use(saved(OWN | dict(state_dict=MODEL.state_dict() | weights) | changes))


@fuzz(
    40,
    weights=st.dictionaries(
        st.one_of(st.sampled_from(sorted(NANO)), st.text(max_size=3), st.integers()),
        VALUES,
        max_size=2,
    ),
    lost=st.sets(st.sampled_from(sorted(NANO)), max_size=1),
    place=st.sampled_from(['model', 'state_dict', None]),
    reverse=st.booleans(),
    ending=st.sampled_from(['.pth', '.safetensors']),
)
def test_converter(weights, lost, place, reverse, ending) -> None:
    held = {key: value for key, value in (NANO | weights).items() if key not in lost}
    with tempfile.TemporaryDirectory() as folder:
        source, made = Path(folder) / 'x.pth', Path(folder) / f'y{ending}'
        torch.save({place: held} if place else held, source)
        args = [str(source), str(made), *(['--reverse'] if reverse else [])]
        code = convert.main(args)
        assert code == (0 if made.exists() else 2)
        if code == 0:
            read = read_foreign(made)[0]
            read = read.get('state_dict', read)
            assert len(read) == len(held) and not lost
