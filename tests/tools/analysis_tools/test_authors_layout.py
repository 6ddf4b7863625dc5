"""The baseline has the same outputs as DWNet."""

import pytest
import torch
from benchmarking.authors_layout import to_authors_layout
from torch import nn

from mmdwnet import DWNet
from mmdwnet.errors import UserError


def pair(**options) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    ours = DWNet(arch='nano', **options).double()
    theirs = to_authors_layout(DWNet(arch='nano', **options).double())
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('pad_to_window', [True, False])
def test_outputs_and_gradients_are_the_same(training: bool, pad_to_window: bool) -> None:
    ours, theirs = pair(out_indices=(0, 1, 2, 3), pad_to_window=pad_to_window)
    images = torch.randn(2, 3, 45, 64, dtype=torch.float64)
    ours.train(training)
    theirs.train(training)
    outs = [model(images) for model in (ours, theirs)]
    torch.testing.assert_close(*outs)
    for out in outs:
        sum(o.abs().mean() for o in out).backward()
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, msg=name)
    torch.testing.assert_close(dict(ours.state_dict()), dict(theirs.state_dict()))


def test_mixing_branches_run_in_nchw_memory() -> None:
    _, theirs = pair()
    found = []
    for name, module in theirs.named_modules():
        if name.endswith(('attn2conv.conv0', 'attn2conv.conv2')):
            module.register_forward_hook(lambda m, args, out: found.append(args[0]))
    theirs(torch.randn(2, 3, 64, 64, dtype=torch.float64))
    assert len(found) == 2 * 5
    assert all(x.is_contiguous() for x in found)


@pytest.mark.parametrize('model', [DWNet(arch='nano', mixer='dynamic'), nn.Conv2d(3, 3, 1)])
def test_other_models_are_refused(model: nn.Module) -> None:
    with pytest.raises(UserError, match='only a DWNet with static mixers'):
        to_authors_layout(model)
