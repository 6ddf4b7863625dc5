"""Arguments and images for the networks: they work as documented, or are refused in a sentence."""

import math
import warnings

import torch
from hypothesis import strategies as st
from mmengine.registry import MODELS

import mmdwnet
from mmdwnet import models
from mmdwnet.errors import UserError

from .fuzzing import fuzz

# What nobody would write, or only by mistake.
ODD = st.sampled_from(
    [
        *(None, True, False, -1, 0, 1, 5, 1.0, 0.5, -0.5, math.nan, math.inf, '', 'x', b'a'),
        *([], [1], (0, 1), [None], ['a'], [[0]], [3, 3], {}, {'type': 'x'}, {'a': 1}, object()),
    ]
)


def or_odd(usual: st.SearchStrategy) -> st.SearchStrategy:
    return st.one_of(usual, usual, usual, usual, usual, usual, usual, usual, ODD)


depths = or_odd(st.tuples(*[or_odd(st.integers(1, 2))] * 4))
out_indices = or_odd(
    st.one_of(
        st.integers(-4, 3),
        st.lists(st.integers(0, 3), unique=True, min_size=1).map(sorted),
        st.lists(or_odd(st.integers(-5, 4)), max_size=5),
    )
)
shapes = or_odd(st.tuples(st.integers(1, 2), st.just(3), st.integers(1, 40), st.integers(1, 40)))
norms = or_odd(
    st.sampled_from(
        [
            *(None, dict(type='BN'), dict(type='LN'), dict(type='LN2d'), dict(type='IN')),
            *(dict(type='GN', num_groups=4), dict(type='GN', num_groups=7), dict(type='SyncBN')),
            *(dict(type='BN', eps=1), dict(type='BN', requires_grad=False), dict(type='BN', a=1)),
        ]
    )
)
shared = dict(
    in_channels=or_odd(st.just(3)),
    out_indices=out_indices,
    drop_path_rate=or_odd(st.sampled_from([0, 0.0, 0.3, 0.99])),
    with_cp=or_odd(st.sampled_from([False, True, 'selective'])),
)
dwnet = st.fixed_dictionaries(
    dict(
        arch=or_odd(
            st.one_of(
                st.just('nano'),
                st.fixed_dictionaries(
                    dict(embed_dims=or_odd(st.sampled_from([4, 8, 32, 6])), depths=depths)
                ),
            )
        )
    ),
    optional=dict(
        window_size=or_odd(
            st.one_of(
                st.sampled_from([3, 5, 7, 9, 31, 1, 2, 33]),
                st.lists(or_odd(st.sampled_from([3, 5, 7])), min_size=4, max_size=4),
            )
        ),
        pad_to_window=or_odd(st.booleans()),
        mlp_ratio=or_odd(st.sampled_from([4, 2, 0.5, 0.01])),
        **shared,
    ),
)
mixers = st.sampled_from(['static', 'dynamic', 'inhomogeneous'])
swin_mlp = st.fixed_dictionaries(
    dict(
        arch=or_odd(
            st.fixed_dictionaries(
                dict(
                    embed_dims=or_odd(st.sampled_from([4, 8, 6])),
                    depths=depths,
                    num_heads=or_odd(st.tuples(*[or_odd(st.sampled_from([1, 2, 4]))] * 4)),
                    window_size=or_odd(st.integers(1, 8)),
                )
            )
        )
    ),
    optional=dict(img_size=or_odd(st.integers(1, 64)), **shared),
)
keys = dict(
    frozen_stages=or_odd(st.integers(-1, 4)),
    norm_eval=or_odd(st.booleans()),
    norm_cfg=norms,
    init_cfg=st.none(),
)


def check(build, given: dict, shape: object, train: bool) -> None:
    """Hold a network to its contract."""
    torch.manual_seed(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            model = build(**given).train(train)
            if not isinstance(shape, tuple) or len(shape) != 4:
                return
            x = torch.randn(shape)
            outs = model(x)
    except UserError as error:
        assert '\n' not in str(error)
        return
    except ValueError as error:
        # torch's own, of a norm that gets one number.
        assert 'Expected more than 1' in str(error), error
        return
    indices = model.out_indices
    width = model.arch['embed_dims']
    n, _, h, w = shape
    assert type(outs) is tuple and len(outs) == len(indices)
    for i, out in zip(indices, outs, strict=True):
        stride = 2 ** (i + 2)
        assert out.shape == (n, width * 2**i, -(-h // stride), -(-w // stride))
        assert out.dtype == x.dtype and out.is_contiguous() and out.isfinite().all()
    if train:
        sum(out.square().sum() for out in outs).backward() if outs[0].requires_grad else None


@fuzz(given=dwnet, mixer=or_odd(mixers), shape=shapes, train=st.booleans())
def test_dwnet(given: dict, mixer: object, shape: object, train: bool) -> None:
    check(models.DWNet, dict(given, mixer=mixer), shape, train)


@fuzz(given=swin_mlp, shape=shapes, train=st.booleans())
def test_swin_mlp(given: dict, shape: object, train: bool) -> None:
    check(models.SwinMLP, given, shape, train)


mixer_cfgs = or_odd(
    st.one_of(
        mixers,
        st.fixed_dictionaries(
            dict(type=or_odd(mixers)), optional=dict(groups=or_odd(st.sampled_from([1, 2, 4, 32])))
        ),
    )
)


@fuzz(
    given=st.fixed_dictionaries(
        {}, optional=dict(keys, act_cfg=or_odd(st.sampled_from([dict(type='ReLU'), None])))
    ),
    network=dwnet,
    mixer=mixer_cfgs,
    shape=shapes,
    train=st.booleans(),
)
def test_dwnet_of_a_config(given, network, mixer, shape, train) -> None:
    assert MODELS.get('DWNet') is mmdwnet.DWNet
    check(mmdwnet.DWNet, dict(network, **given, mixer=mixer), shape, train)


@fuzz(
    given=st.fixed_dictionaries({}, optional=keys),
    network=swin_mlp,
    shape=shapes,
    train=st.booleans(),
)
def test_swin_mlp_of_a_config(given, network, shape, train) -> None:
    check(mmdwnet.SwinMLP, dict(network, **given), shape, train)
