"""Options that all backbones share work as in other OpenMMLab backbones."""

import copy

import mmdet.registry
import mmengine.registry
import mmpretrain.registry
import mmseg.registry
import pytest
import torch
from benchmarking.timing import saved_bytes
from torch import nn

import mmdwnet
from mmdwnet import DWNet
from mmdwnet.errors import UserError

from .nano import KINDS, images, nano, total

ONE_OF_EACH = ('dynamic', 'swin_mlp')
CLASSES = ('DWNet', 'SwinMLP')


@pytest.mark.parametrize('library', [mmengine, mmpretrain, mmdet, mmseg])
@pytest.mark.parametrize('kind', ONE_OF_EACH)
def test_every_library_resolves_the_one_class(library, kind):
    backbone = library.registry.MODELS.build(dict(KINDS[kind]))
    assert type(backbone) is getattr(mmdwnet, KINDS[kind]['type'])


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('size', [(33, 47), (1, 1), (64, 96)])
def test_any_size_gives_maps(kind, size):
    outs = nano(kind, out_indices=(0, 1, 2, 3)).eval()(images(2, *size))
    for i, out in enumerate(outs):
        stride = 2 ** (i + 2)
        assert out.shape == (2, 32 * 2**i, -(-size[0] // stride), -(-size[1] // stride))
        assert out.is_contiguous()  # as compiled operators of mmcv assume


@pytest.mark.parametrize(
    ('kind', 'norm_cfg', 'norm'),
    [
        ('static', None, nn.BatchNorm2d),
        ('swin_mlp', None, nn.LayerNorm),
        ('swin_mlp', dict(type='BN'), nn.BatchNorm2d),
    ],
)
def test_out_indices_choose_outputs_and_norms(kind, norm_cfg, norm):
    assert isinstance(nano(kind, norm_cfg=norm_cfg).norm, nn.LayerNorm)
    dense = nano(kind, norm_cfg=norm_cfg, out_indices=(1, 3)).train()
    assert isinstance(dense.norm1, norm) and isinstance(dense.norm3, norm)
    assert not hasattr(dense, 'norm') and not hasattr(dense, 'norm0')
    outs = dense(images())
    assert [out.shape[1] for out in outs] == [64, 256]
    normalized = (0, 2, 3) if norm is nn.BatchNorm2d else 1
    for out in outs:
        torch.testing.assert_close(out.mean(normalized), torch.zeros_like(out.mean(normalized)))
    assert [out.shape[1] for out in nano(kind, out_indices=-1)(images())] == [256]
    # Unused stages are not built, so that DDP finds no parameter without a gradient.
    assert len(nano(kind, out_indices=(0, 1)).layers) == 2


@pytest.mark.parametrize('kind', ONE_OF_EACH)
@pytest.mark.parametrize('frozen_stages', [-1, 0, 2, 4])
def test_frozen_stages_stay_frozen_in_training(kind, frozen_stages):
    backbone = nano(kind, frozen_stages=frozen_stages, out_indices=(0, 1, 2, 3)).train()
    before = copy.deepcopy(backbone.state_dict())
    total(backbone(images())).backward()
    torch.optim.SGD([p for p in backbone.parameters() if p.requires_grad], 0.1).step()
    after = backbone.state_dict()
    frozen = ['patch_embed.'] if frozen_stages >= 0 else []
    frozen += [f'layers.{i}.' for i in range(frozen_stages)]
    for key in before:
        changed = not torch.equal(before[key], after[key])
        if key.startswith(tuple(frozen)):
            assert not changed, key
        elif 'running' in key or key.endswith(('conv0.weight', 'spatial_mlp.weight')):
            assert changed, key


@pytest.mark.parametrize('kind', ONE_OF_EACH)
def test_drop_path_grows_linearly_and_only_acts_in_training(kind):
    backbone = nano(kind, drop_path_rate=0.4)
    rates = [
        getattr(block.drop_path, 'p', 0.0) for stage in backbone.layers for block in stage.blocks
    ]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    x = images()
    torch.testing.assert_close(backbone.eval()(x), nano(kind).eval()(x))
    assert not torch.equal(backbone.train()(x)[0], backbone(x)[0])


@pytest.mark.parametrize('kind', KINDS)
def test_checkpointing_changes_neither_gradients_nor_statistics(kind):
    stored, recomputed = nano(kind).train(), nano(kind, with_cp=True).train()
    for backbone in (stored, recomputed):
        total(backbone(images())).backward()
    for (key, a), b in zip(stored.named_parameters(), recomputed.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, msg=key)
    torch.testing.assert_close(stored.state_dict(), recomputed.state_dict())


@pytest.mark.parametrize('kind', ['static', 'swin_mlp'])
@pytest.mark.parametrize('with_cp', [True, 1])  # --cfg-options model.backbone.with_cp=1
def test_checkpointing_saves_memory(kind, with_cp):
    def saved_bytes(backbone: nn.Module) -> int:
        count = 0

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal count
            count += tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            backbone.train()(images())
        return count

    assert saved_bytes(nano(kind, with_cp=with_cp)) < 0.3 * saved_bytes(nano(kind))


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('autocast', [False, True])
def test_selective_checkpointing_changes_nothing(kind, autocast):
    options = dict(drop_path_rate=0.3, frozen_stages=1, out_indices=(0, 1, 2, 3))
    stored = nano(kind, **options).train()
    recomputed = nano(kind, with_cp='selective', **options).train()
    losses = []
    for backbone in (stored, recomputed):
        if not autocast:
            backbone.double()
        torch.manual_seed(1)
        with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
            losses.append(total(backbone(images() if autocast else images().double())))
        losses[-1].backward()
    assert losses[0] == losses[1]
    for (key, a), b in zip(stored.named_parameters(), recomputed.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, msg=lambda text, key=key: f'{key}: {text}')
    torch.testing.assert_close(stored.state_dict(), recomputed.state_dict(), rtol=0, atol=0)


def test_selective_checkpointing_saves_two_fifths_of_tiny():
    def kept_bytes(with_cp: bool | str) -> int:
        backbone = DWNet('tiny', with_cp=with_cp).train()
        return saved_bytes(lambda: total(backbone(images(2, 224, 224))), backbone.parameters())

    assert kept_bytes('selective') <= 0.6 * kept_bytes(False)


@pytest.mark.parametrize(
    ('kind', 'layers'), [('static', ['mlp.fc1']), ('swin_mlp', ['mlp.fc1', 'spatial_mlp'])]
)
def test_init_weights(kind, layers):
    block = nano(kind).layers[3].blocks[0]
    for layer in layers:
        assert block.get_submodule(layer).weight.std().item() == pytest.approx(0.02, rel=0.05)
        assert not block.get_submodule(layer).bias.any()


@pytest.mark.parametrize('kind', ONE_OF_EACH)
def test_init_cfg_loads_weights(kind, tmp_path):
    source = nano(kind)
    torch.save({'state_dict': source.state_dict()}, tmp_path / 'nano.pth')
    torch.manual_seed(1)
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'nano.pth'))
    target = mmengine.registry.MODELS.build({**KINDS[kind], 'init_cfg': init_cfg})
    target.init_weights()
    torch.testing.assert_close(source.state_dict(), target.state_dict())


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_autocast_trains_and_infers(kind, dtype):
    backbone = nano(kind, out_indices=(0, 1, 2, 3)).train()
    with torch.autocast('cpu', dtype):
        outs = backbone(images())
    assert all(out.dtype == dtype for out in outs)
    total(outs).backward()
    for key, parameter in backbone.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key
    backbone.eval()
    with torch.no_grad():
        exact = backbone(images())
        with torch.autocast('cpu', dtype):
            rounded = backbone(images())
    for a, b in zip(exact, rounded, strict=True):
        assert (a - b.float()).norm() < 0.05 * a.norm()


@pytest.mark.slow
@pytest.mark.usefixtures('compiler')
@pytest.mark.parametrize('kind', KINDS)
def test_compiles_without_graph_breaks(kind):
    backbone = nano(kind, out_indices=(0, 1, 2, 3)).eval()
    compiled = torch.compile(backbone, fullgraph=True, backend='aot_eager')
    x = images(2, 45, 64)
    torch.testing.assert_close(compiled(x), backbone(x))
    backbone.train()
    total(compiled(x)).backward()
    assert backbone.patch_embed.proj.weight.grad.isfinite().all()


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        (dict(arch='huge'), r"no arch 'huge': choose one of \['base', "),
        (dict(arch=dict(embed_dims=32)), r"keys \['embed_dims'\]: give embed_dims"),
        (dict(out_indices=(0, 4)), r'out_indices=\(0, 4\): give stages from 0 to 3'),
        (dict(out_indices=()), r'out_indices=\(\)'),
        (dict(drop_path_rate=1.0), 'drop_path_rate=1.0'),
        (dict(frozen_stages=5), 'frozen_stages=5'),
        (dict(with_cp='some'), r"with_cp='some': give False, True or 'selective'"),
    ],
)
@pytest.mark.parametrize('name', CLASSES)
def test_arguments_that_make_no_network(name, options, sentence):
    with pytest.raises(UserError, match=f'^{name} .*{sentence}'):
        getattr(mmdwnet, name)(**options)


@pytest.mark.parametrize('shape', [(3, 64, 64), (2, 1, 64, 64), (2, 64, 64, 3)])
@pytest.mark.parametrize('kind', ONE_OF_EACH)
def test_input_that_is_no_batch_of_images(kind, shape):
    with pytest.raises(UserError, match=r'takes images as \(N, 3, H, W\)'):
        nano(kind)(torch.zeros(shape))
