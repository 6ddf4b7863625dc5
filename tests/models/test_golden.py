"""Outputs, losses, gradients and running means of backbones match those of the authors' code."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from mmengine.registry import MODELS

import mmdwnet  # noqa: F401  # registers the backbones

from . import golden

SWIN_MLPS = [f'cls_swin_mlp_{arch}' for arch in ('tiny_c24', 'tiny_c12', 'tiny_c6', 'base')]
CLASSIFIERS = [f'cls_{mixer}_{arch}' for mixer in golden.MIXERS for arch in ('tiny', 'base')]
DENSE = [
    f'dense_{mixer}_{arch}' for mixer in ('dwnet', 'dynamic_dwnet') for arch in ('tiny', 'base')
]
# Drawing the weights of the largest takes longer than anything that is done with them.
MARKED = {
    name: pytest.param(name, marks=pytest.mark.slow if name.endswith('base') else ())
    for name in CLASSIFIERS + SWIN_MLPS + DENSE
}
TRAINED = [name for name in CLASSIFIERS + DENSE if name.endswith('tiny')] + SWIN_MLPS[:1]
PARAMETERS = {  # at 1000 classes; backbone alone for dense
    'cls_dwnet_tiny': 24_172_744,
    'cls_dynamic_dwnet_tiny': 51_131_752,
    'cls_i_dynamic_dwnet_tiny': 26_244_280,
    'cls_dwnet_base': 74_347_112,
    'cls_dynamic_dwnet_base': 161_597_928,
    'cls_i_dynamic_dwnet_base': 80_253_608,
    'cls_swin_mlp_tiny_c24': 20_386_632,
    'cls_swin_mlp_tiny_c12': 21_152_072,
    'cls_swin_mlp_tiny_c6': 22_682_952,
    'cls_swin_mlp_base': 60_659_416,
    'dense_dwnet_tiny': 23_405_088,
    'dense_dynamic_dwnet_tiny': 50_364_096,
    'dense_dwnet_base': 73_323_904,
    'dense_dynamic_dwnet_base': 160_574_720,
}


class Classifier(torch.nn.Module):
    """Backbone with the authors' head, and the authors' keys under `backbone.`."""

    def __init__(self, backbone: torch.nn.Module, num_features: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = torch.nn.Linear(num_features, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone(x)[-1].mean((2, 3)))


@pytest.fixture(scope='module')  # as drawing the weights takes longer than the tests
def expected(request: pytest.FixtureRequest) -> golden.Golden:
    """A golden model, by its name."""
    return golden.load(request.param)


def build(expected: golden.Golden) -> torch.nn.Module:
    """Build a golden model and load the authors' state dict into it, strictly."""
    model = backbone = MODELS.build(expected.backbone)
    if expected.name.startswith('cls'):
        model = Classifier(backbone, backbone.norm.normalized_shape[0])
    weights = dict(expected.state_dict)
    head = {key: weights.pop(key) for key in list(weights) if key.startswith('head.')}
    backbone.load_state_dict(weights, strict=True)
    if head:
        model.head.load_state_dict({key.removeprefix('head.'): w for key, w in head.items()})
    return model


def train_once(expected: golden.Golden, dtype: torch.dtype) -> tuple[float, torch.nn.Module]:
    """Take the golden training step: loss and backward, without an update."""
    model = build(expected)
    out = model.to(dtype).train()(expected.image.to(dtype))
    if expected.name.startswith('cls'):
        loss = F.cross_entropy(out, torch.tensor([1, 7]))
    else:
        loss = sum(o.square().mean() for o in out)
    loss.backward()
    return loss.item(), model


@pytest.mark.parametrize(
    'expected', [MARKED[name] for name in CLASSIFIERS + SWIN_MLPS], indirect=True
)
def test_classifier(expected):
    model = build(expected)
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[expected.name]
    with torch.no_grad():
        logits = model.eval()(expected.image)
    np.testing.assert_allclose(logits.numpy(), expected.arrays['logits'], atol=1e-4, rtol=0)


@pytest.mark.parametrize('expected', [MARKED[name] for name in DENSE], indirect=True)
def test_dense(expected):
    model = build(expected)
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[expected.name]
    with torch.no_grad():
        outs = model.eval()(expected.image)
    assert len(outs) == 4
    for i, out in enumerate(outs):
        assert list(out.shape) == expected.scalars[f'out{i}_shape']
        np.testing.assert_allclose(
            out[:, ::16].numpy(), expected.arrays[f'out{i}'], atol=1e-4, rtol=0
        )


@pytest.mark.parametrize('expected', TRAINED, indirect=True)
def test_loss_and_running_means(expected):
    loss, model = train_once(expected, torch.float32)
    assert loss == pytest.approx(expected.scalars['train_loss'], rel=1e-4)
    state = {key.removeprefix('backbone.'): v for key, v in model.state_dict().items()}
    means = {k.split('/')[1]: v for k, v in expected.arrays.items() if k.startswith('bn_mean')}
    assert bool(means) == (expected.name in CLASSIFIERS)
    for key, mean in means.items():
        np.testing.assert_allclose(state[key].numpy(), mean, atol=1e-4, rtol=0, err_msg=key)


@pytest.mark.parametrize('expected', TRAINED, indirect=True)
def test_gradient_norms(expected):
    # The authors' float32 gradients against exact ones (float64), so that the only rounding
    # errors are theirs. The dynamic mixer's BN divides by the tiny difference between two pooled
    # images here, which amplifies them: 1.9% off the exact gradient, and 7% on other threads.
    tolerance = 2e-2 if expected.name == 'cls_dynamic_dwnet_tiny' else 1e-2
    _, model = train_once(expected, torch.float64)
    ours = {
        key.removeprefix('backbone.'): parameter.grad.norm().item()
        for key, parameter in model.named_parameters()
    }
    assert ours.keys() == expected.scalars['grad_norms'].keys()
    for key, norm in expected.scalars['grad_norms'].items():
        # A bias before a BN has no gradient, only rounding errors: hence the absolute tolerance.
        assert ours[key] == pytest.approx(norm, rel=tolerance, abs=1e-5), key
