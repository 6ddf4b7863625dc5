import pytest
import torch
from torch import Tensor

from mmdwnet import DWNet, SwinMLP
from mmdwnet.checkpoints.official import _backbones, identify, to_mm, to_official, weights_of
from mmdwnet.errors import UserError


def authors_weights(backbone: torch.nn.Module, classes: int = 5) -> dict[str, Tensor]:
    weights = backbone.state_dict()
    features = len(weights['norm.weight'])
    return {
        **weights,
        'head.weight': torch.ones(classes, features),
        'head.bias': torch.ones(classes),
    }


def dense_weights(backbone: torch.nn.Module, *others: str) -> dict[str, Tensor]:
    weights = {f'backbone.{key}': value for key, value in backbone.state_dict().items()}
    return weights | {f'{other}.weight': torch.ones(1) for other in others}


def dense_nano(mixer: str = 'static') -> DWNet:
    return DWNet('nano', mixer, out_indices=(0, 1, 2, 3))


@pytest.mark.parametrize('mixer', ['static', 'dynamic', 'inhomogeneous'])
def test_classifiers_are_told_apart(mixer):
    found = identify(authors_weights(DWNet('nano', mixer)), 'x')
    names = {'static': 'dwnet', 'dynamic': 'dynamic_dwnet', 'inhomogeneous': 'i_dynamic_dwnet'}
    assert str(found) == f'{names[mixer]}_nano, a classifier of 5 classes'


@pytest.mark.parametrize('arch', ['tiny_c24', 'tiny_c12', 'tiny_c6'])
def test_swin_mlps_are_told_apart(arch):
    with torch.device('meta'):
        backbone = SwinMLP(arch)
    assert identify(authors_weights(backbone), 'x').name == f'swin_mlp_{arch}'


def test_detectors_and_segmentors_are_told_apart():
    detector = dense_weights(dense_nano('dynamic'), 'neck', 'rpn_head', 'roi_head')
    assert str(identify(detector, 'x')) == 'cascade_mask_rcnn_dynamic_dwnet_nano'
    segmentor = dense_weights(dense_nano(), 'decode_head', 'auxiliary_head')
    assert str(identify(segmentor, 'x')) == 'upernet_dwnet_nano'


def without(weights: dict[str, Tensor], *keys: str) -> dict[str, Tensor]:
    return {key: value for key, value in weights.items() if key not in keys}


def test_what_is_unknown_is_refused_with_its_keys():
    def refusal(weights: dict[str, Tensor]) -> str:
        with pytest.raises(UserError) as caught:
            identify(weights, 'x.pth')
        assert str(caught.value).startswith('x.pth ') and '\n' not in str(caught.value)
        return str(caught.value)

    linear = torch.nn.Linear(2, 2).state_dict()
    assert 'of no model that mmdwnet knows: it has 2 keys (weight, bias)' in refusal(linear)
    whole = authors_weights(DWNet('nano'))
    said = refusal(without(whole, 'patch_embed.proj.bias', 'norm.bias'))
    assert 'dwnet_nano, but there are 2 keys (patch_embed.proj.bias, norm.bias) missing' in said
    assert '1 key (odd) unexpected' in refusal({**whole, 'odd': torch.ones(1)})
    said = refusal({**whole, 'norm.bias': torch.ones(3)})
    assert '1 key (norm.bias) of another shape' in said
    deeper = DWNet(dict(embed_dims=32, depths=(1, 1, 3, 1)))
    assert '28 keys (layers.2.blocks.2.' in refusal(authors_weights(deeper))
    assert 'no head of a classifier' in refusal(without(whole, 'head.bias'))
    assert 'no head of a classifier' in refusal({**whole, 'head.weight': torch.ones(5, 7)})
    assert 'no head of a classifier' in refusal({**whole, 'head.bias': torch.ones(())})
    said = refusal(dense_weights(dense_nano(), 'neck', 'bbox_head'))
    assert "the backbone of dwnet_nano, but beside it ['bbox_head', 'neck']" in said


def test_names_here_and_there():
    classifier = authors_weights(DWNet('nano'))
    named = to_mm(classifier)
    assert next(iter(named)) == 'backbone.patch_embed.proj.weight'
    assert list(named)[-2:] == ['head.fc.weight', 'head.fc.bias']
    assert list(to_official(named)) == list(classifier)
    assert all(value is classifier[key] for key, value in to_official(named).items())
    segmentor = dense_weights(dense_nano(), 'decode_head', 'auxiliary_head')
    assert list(to_mm(segmentor)) == list(to_official(segmentor)) == list(segmentor)


@pytest.mark.parametrize('under', ['model', 'state_dict', None])
@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_weights_are_found(under, prefix):
    weights = {f'{prefix}a.module.b': torch.ones(2, requires_grad=True)}
    found = weights_of({under: weights, 'epoch': 3} if under else weights, 'x')
    assert list(found) == ['a.module.b'] and not found['a.module.b'].requires_grad


@pytest.mark.parametrize(
    'checkpoint',
    [
        {},
        {'model': {}},
        {'epoch': 3, 'a': torch.ones(1)},
        {'model': {'a': 'text'}},
        {'model': {1: torch.ones(1)}},
        {'model': {'a': torch.ones(2).to_sparse()}},
        {'model': {'a': torch.ones(2, device='meta')}},
        {'model': {'a': torch.quantize_per_tensor(torch.ones(2), 1, 0, torch.qint8)}},
    ],
)
def test_what_is_no_state_dict_is_refused(checkpoint):
    with pytest.raises(UserError, match='x has no state dict under model, state_dict or at its'):
        weights_of(checkpoint, 'x')


def test_identifying_draws_no_random_numbers():
    """Weights are loaded amid the initialisation of models."""
    weights = authors_weights(DWNet('nano'))
    _backbones.cache_clear()
    state = torch.get_rng_state()
    identify(weights, 'x')
    assert torch.equal(torch.get_rng_state(), state)
