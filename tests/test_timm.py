"""timm's interface: what timm's own tests ask of a model, and the same numbers as OpenMMLab's."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from mmengine.registry import MODELS
from timm.layers import set_scriptable
from timm.models import (
    get_notrace_functions,
    get_notrace_modules,
    group_parameters,
    save_for_hf,
)
from torch import Tensor, nn
from torchvision.models.feature_extraction import NodePathTracer

import mmdwnet.timm
from mmdwnet.errors import UserError
from mmdwnet.models.dwnet import DWBlock

from .checkpoints.authors import classifier_file
from .hiding import OPENMMLAB, run_without
from .models import golden
from .models.test_golden import CLASSIFIERS, SWIN_MLPS

ROOT = Path(__file__).parents[1]
FAST = ('dwnet_nano', 'i_dynamic_dwnet_tiny', 'swin_mlp_tiny_c24')
NAMES = [
    pytest.param(name, marks=() if name in FAST else pytest.mark.slow)
    for name in mmdwnet.timm.__all__
]
AUTHORS = [
    pytest.param(name, marks=() if name.endswith('tiny') else pytest.mark.slow)
    for name in CLASSIFIERS + SWIN_MLPS
]


def images(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def authors_file(path: Path, weights: dict[str, Tensor]) -> Path:
    """A classifier's file with what torch's weights-only reader knows, and the authors' config."""
    return classifier_file(path, weights, max_accuracy=81.2)


def backbone_like(model: nn.Module, **options) -> nn.Module:
    """OpenMMLab's backbone with a model's weights."""
    kind = type(model).__name__
    if kind == 'DWNet':
        options['mixer'] = model.mixer
    backbone = MODELS.build(dict(type=kind, arch=model.arch, **options)).eval()
    weights = {k: v for k, v in model.state_dict().items() if not k.startswith('head.')}
    backbone.load_state_dict(weights)
    return backbone


def test_all_models_are_registered():
    assert set(mmdwnet.timm.__all__) <= set(timm.list_models())
    released = {name.partition('.')[0] for name in timm.list_models(pretrained=True)}
    assert {'dwnet_tiny', 'dynamic_dwnet_base', 'swin_mlp_base'} <= released
    assert not {'dwnet_nano', 'i_dynamic_dwnet_tiny'} & released


@pytest.mark.parametrize('name', NAMES)
def test_every_parameter_has_a_gradient(name):
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=42).train()
    out = model(images(2, 3, 64, 64))
    assert out.shape == (2, 42)
    out.mean().backward()
    assert [key for key, value in model.named_parameters() if value.grad is None] == []


@pytest.mark.parametrize('name', NAMES)
@torch.no_grad()
def test_parts_are_what_the_description_says(name):
    model = timm.create_model(name).eval()
    description = model.pretrained_cfg
    keys = model.state_dict()
    assert f'{description["classifier"]}.weight' in keys
    assert f'{description["first_conv"]}.weight' in keys
    assert model.get_classifier() is model.head
    x = images(1, *description['input_size'])
    maps = model.forward_features(x)
    assert maps.shape == (1, model.num_features, *description['pool_size'])
    features = model.forward_head(maps, pre_logits=True)
    assert features.shape == (1, model.head_hidden_size)
    assert model(x).equal(model.head(features))
    model.reset_classifier(0)
    assert model(x).equal(features)
    model.reset_classifier(0, '')
    assert model(x).equal(maps)
    model.reset_classifier(7, 'max')
    assert (model.num_classes, model(x).shape) == (7, (1, 7))


@pytest.mark.parametrize('name', NAMES)
@torch.no_grad()
def test_classifiers_compute_what_openmmlabs_backbones_do(name):
    torch.manual_seed(0)
    model = timm.create_model(name).eval()
    x = images(1, 3, 75, 50)
    (expected,) = backbone_like(model)(x)
    last, maps = model.forward_intermediates(x)
    assert len(maps) == 4
    (normed,) = model.forward_intermediates(x, 1, norm=True, intermediates_only=True)
    for out in (model.forward_features(x), last, normed):
        assert out.equal(expected)


@pytest.mark.parametrize('name', NAMES)
@torch.no_grad()
def test_feature_maps_are_those_of_openmmlabs_backbones(name):
    torch.manual_seed(0)
    features = timm.create_model(name, features_only=True).eval()
    assert features.feature_info.reduction() == [4, 8, 16, 32]
    x = images(1, 3, 75, 50)
    expected = backbone_like(features.model, out_indices=(0, 1, 2, 3))(x)
    maps = features(x)
    assert [out.shape[1] for out in maps] == features.feature_info.channels()
    for out, same in zip(maps, expected, strict=True):
        assert out.equal(same)


def test_stages_that_no_map_needs_are_removed():
    torch.manual_seed(0)
    features = timm.create_model('dwnet_nano', features_only=True, out_indices=(0, 2)).eval()
    x = images(2, 3, 64, 64)
    assert [tuple(out.shape[1:]) for out in features(x)] == [(32, 16, 16), (128, 4, 4)]
    backbone = backbone_like(features.model, out_indices=(0, 2))
    assert all(out.equal(same) for out, same in zip(features(x), backbone(x), strict=True))
    features.train()(x)[-1].mean().backward()


@torch.no_grad()
def test_maps_can_end_early_and_have_no_norm():
    model = timm.create_model('dwnet_nano').eval()
    x = images(1, 3, 64, 64)
    all_maps = model.forward_intermediates(x, intermediates_only=True)
    first = model.forward_intermediates(x, [0, 1], stop_early=True, intermediates_only=True)
    assert all(out.equal(same) for out, same in zip(first, all_maps[:2], strict=True))
    assert not all_maps[-1].equal(model.forward_features(x))
    with pytest.raises(UserError, match="give 'NCHW'"):
        model.forward_intermediates(x, output_fmt='NLC')


@pytest.mark.parametrize('stride', [16, 8])
@torch.no_grad()
def test_maps_of_smaller_strides_have_the_usual_ones_between_others(stride):
    torch.manual_seed(0)
    model = timm.create_model('dwnet_nano', features_only=True).eval()
    dilated = timm.create_model('dwnet_nano', features_only=True, output_stride=stride).eval()
    dilated.load_state_dict(model.state_dict())
    assert dilated.feature_info.reduction() == [4, 8, min(16, stride), stride]
    x = images(2, 3, 64, 96)
    for usual, out, reduction in zip(model(x), dilated(x), (4, 8, 16, 32), strict=True):
        step = max(1, reduction // stride)
        assert out.shape[-2:] == (64 * step // reduction, 96 * step // reduction)
        torch.testing.assert_close(out[..., ::step, ::step], usual)
    odd = dilated(images(1, 3, 50, 75))[-1]
    assert odd.shape[-2:] == {16: (4, 5), 8: (7, 10)}[stride]


def test_checkpointing_changes_memory_alone():
    torch.manual_seed(0)
    model = timm.create_model('dwnet_nano').train()
    x, results = images(2, 3, 64, 64), []
    for enable in (False, True):
        model.set_grad_checkpointing(enable)
        model.zero_grad()
        saved = 0

        def count(tensor: Tensor) -> Tensor:
            nonlocal saved
            saved += tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            out = model(x)
        out.square().mean().backward()
        results.append((saved, out, model.patch_embed.proj.weight.grad.clone()))
    (much, *plain), (little, *again) = results
    assert little < much / 2
    torch.testing.assert_close(again, plain)


def test_layers_are_grouped_as_for_openmmlab():
    model = timm.create_model('dwnet_nano')
    groups = group_parameters(model, model.group_matcher(), reverse=True)
    # timm has the last norm in the layer of the last block.
    groups = {k: group for k, group in groups.items() if not k.startswith(('norm.', 'head.'))}
    depths = {key: backbone_like(model).get_layer_depth(key)[0] for key in groups}
    assert groups == depths


@pytest.mark.parametrize('name', AUTHORS)
@torch.no_grad()
def test_the_authors_files_give_the_authors_numbers(name, tmp_path):
    expected = golden.load(name)
    path = authors_file(tmp_path / 'authors.pth', expected.state_dict)
    model = timm.create_model(name.removeprefix('cls_'), checkpoint_path=str(path)).eval()
    logits = model(expected.image).numpy()
    np.testing.assert_allclose(logits, expected.arrays['logits'], atol=1e-4, rtol=0)


@pytest.fixture
def released(tmp_path) -> dict:
    """What makes timm take a file here for the release of dwnet_tiny, and fetch it."""
    torch.manual_seed(0)
    weights = timm.create_model('dwnet_tiny').state_dict()
    path = authors_file(tmp_path / 'dwnet_tiny_224.pth', weights)
    overlay = dict(url=path.as_uri())
    return dict(pretrained=True, pretrained_cfg_overlay=overlay, cache_dir=tmp_path / 'cache')


def test_released_weights_fit_other_tasks(released):
    torch.manual_seed(0)
    weights = timm.create_model('dwnet_tiny').state_dict()
    model = timm.create_model('dwnet_tiny', num_classes=5, in_chans=1, **released)
    assert model.head.weight.shape == (5, 768)
    assert model.patch_embed.proj.weight.shape == (96, 1, 4, 4)
    key = 'layers.3.blocks.1.mlp.fc2.weight'
    assert model.state_dict()[key].equal(weights[key])
    features = timm.create_model('dwnet_tiny', features_only=True, **released)
    assert features.state_dict()[f'model.{key}'].equal(weights[key])


@torch.no_grad()
def test_hugging_face_folders_are_written_and_read(tmp_path):
    model = timm.create_model('dwnet_nano', num_classes=3).eval()
    save_for_hf(model, tmp_path, safe_serialization='both')
    assert {'config.json', 'model.safetensors'} <= {path.name for path in tmp_path.iterdir()}
    again = timm.create_model(f'local-dir:{tmp_path}', pretrained=True).eval()
    x = images(1, 3, 64, 64)
    assert again(x).equal(model(x))


@torch.no_grad()
def test_torch_hub():
    model = torch.hub.load(str(ROOT), 'dwnet_nano', source='local', num_classes=3).eval()
    assert model(images(1, 3, 64, 64)).shape == (1, 3)


@pytest.mark.parametrize(
    'name',
    [
        pytest.param(name, marks=() if name == 'dwnet_nano' else pytest.mark.slow)
        for name in mmdwnet.timm.__all__
    ],
)
@torch.no_grad()
def test_compiles_and_exports_as_one_graph(name, compiler):
    model = timm.create_model(name).eval()
    x = images(2, 3, 64, 64)
    expected = model(x)
    compiled = torch.compile(model, fullgraph=True, backend='aot_eager')
    torch.testing.assert_close(compiled(x), expected)
    exported = torch.export.export(model, (x,)).module()
    torch.testing.assert_close(exported(x), expected)


@pytest.mark.parametrize('name', NAMES)
@torch.no_grad()
def test_traced_by_fx_as_timm_does(name):
    model = timm.create_model(name).eval()
    tracer = NodePathTracer(
        leaf_modules=get_notrace_modules(), autowrap_functions=get_notrace_functions()
    )
    traced = torch.fx.GraphModule(model, tracer.trace(model))
    for size in ((64, 64), (50, 75)):
        x = images(1, 3, *size)
        assert traced(x).equal(model(x))


@pytest.mark.filterwarnings('ignore:.torch.jit')
@pytest.mark.parametrize('name', NAMES)
@torch.no_grad()
def test_scripted_as_timm_does(name):
    torch.manual_seed(0)
    with set_scriptable(True):
        model = timm.create_model(name).eval()
    scripted = torch.jit.script(model)
    for size in ((64, 64), (50, 75), (50, 75)):  # the second time, it is optimized for the size
        x = images(2, 3, *size)
        torch.testing.assert_close(scripted(x), model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings('ignore:.torch.jit')
@pytest.mark.parametrize('mixer', ['static', 'dynamic', 'inhomogeneous'])
def test_scripted_models_train_the_same_parameters(mixer):
    torch.manual_seed(0)
    model = timm.create_model('dwnet_nano', mixer=mixer, drop_path_rate=0.5).double()
    scripted = torch.jit.script(model)
    assert [*scripted.state_dict()] == [*model.state_dict()]
    for x in images(2, 2, 3, 33, 40).double():
        results = []
        for either in (model, scripted):
            torch.manual_seed(1)
            either.zero_grad()
            either(x).square().sum().backward()
            results.append([parameter.grad.clone() for parameter in model.parameters()])
        torch.testing.assert_close(*results)
    assert model.layers[0].blocks[0].bn.num_batches_tracked == 4
    assert type(model.layers[0].blocks[0]) is DWBlock


@pytest.mark.filterwarnings('ignore:.torch.jit')
@pytest.mark.parametrize('options', [dict(features_only=True), dict(output_stride=16)])
def test_what_cannot_be_scripted_is_refused(options):
    with pytest.raises(UserError, match='use torch'):
        torch.jit.script(timm.create_model('dwnet_nano', **options))


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore:.torch.jit')
def test_saved_scripts_need_torch_alone(tmp_path):
    torch.jit.script(timm.create_model('dwnet_nano').eval()).save(tmp_path / 'nano.pt')
    script = f"""
import torch
print(*torch.jit.load({str(tmp_path / 'nano.pt')!r})(torch.zeros(2, 3, 50, 75)).shape)
"""
    assert run_without({'mmdwnet', 'timm', 'torchvision'} | OPENMMLAB, script) == '2 1000\n'


def test_models_are_built_without_memory():
    with torch.device('meta'):
        model = timm.create_model('dynamic_dwnet_base')
    assert {parameter.device.type for parameter in model.parameters()} == {'meta'}


def test_needs_torch_and_timm_alone():
    script = """
import timm, torch, mmdwnet.timm
model = timm.create_model('i_dynamic_dwnet_tiny', num_classes=2)
print(*model(torch.zeros(2, 3, 64, 64)).shape)
"""
    assert run_without(OPENMMLAB, script).split() == ['2', '2']
