"""DWNet's options, as a user of any OpenMMLab backbone expects them to work."""

import copy

import mmdet.registry
import mmengine.registry
import mmpretrain.registry
import mmseg.registry
import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmdwnet import DWNet
from mmdwnet.errors import UserError

MIXERS = ('static', 'dynamic', 'inhomogeneous')


def images(n: int = 2, h: int = 64, w: int = 64) -> torch.Tensor:
    return torch.randn(n, 3, h, w, generator=torch.Generator().manual_seed(0))


def nano(mixer: str = 'static', **options) -> DWNet:
    torch.manual_seed(0)
    backbone = DWNet('nano', mixer, **options)
    backbone.init_weights()
    return backbone


def total(outs: tuple[torch.Tensor, ...]) -> torch.Tensor:
    return sum(out.float().square().mean() for out in outs)


@pytest.mark.parametrize('library', [mmengine, mmpretrain, mmdet, mmseg])
def test_every_library_resolves_the_one_class(library):
    backbone = library.registry.MODELS.build(dict(type='DWNet', arch='nano'))
    assert type(backbone) is DWNet


@pytest.mark.parametrize('mixer', MIXERS)
@pytest.mark.parametrize('size', [(33, 47), (1, 1), (64, 96)])
@pytest.mark.parametrize('pad_to_window', [False, True])
def test_any_size_gives_maps(mixer, size, pad_to_window):
    backbone = nano(mixer, out_indices=(0, 1, 2, 3), pad_to_window=pad_to_window).eval()
    outs = backbone(images(2, *size))
    for i, out in enumerate(outs):
        stride = 2 ** (i + 2)
        assert out.shape == (2, 32 * 2**i, -(-size[0] // stride), -(-size[1] // stride))
        assert out.is_contiguous()  # what compiled operators of mmcv take for granted


def test_window_padding_changes_only_maps_that_the_window_does_not_divide():
    plain, padded = nano().eval(), nano(pad_to_window=True).eval()
    for backbone in (plain, padded):  # a fresh BN leaves the border at 0, a trained one does not
        for name, bias in backbone.named_parameters():
            if name.endswith('bn0.bias'):
                nn.init.constant_(bias, 1.0)
    torch.testing.assert_close(plain(images(1, 224, 224)), padded(images(1, 224, 224)))
    assert not torch.allclose(plain(images(1, 64, 64))[0], padded(images(1, 64, 64))[0])


def test_out_indices_choose_outputs_and_norms():
    assert isinstance(nano().norm, nn.LayerNorm)
    dense = nano(out_indices=(1, 3)).eval()
    assert isinstance(dense.norm1, nn.BatchNorm2d) and isinstance(dense.norm3, nn.BatchNorm2d)
    assert not hasattr(dense, 'norm') and not hasattr(dense, 'norm0')
    assert [out.shape[1] for out in dense(images())] == [64, 256]
    assert [out.shape[1] for out in nano(out_indices=-1)(images())] == [256]
    # Stages nobody asks for are not built, so that DDP finds no parameter without a gradient.
    assert len(nano(out_indices=(0, 1)).layers) == 2


def test_norm_cfg_sets_all_but_the_layer_norms():
    backbone = nano('dynamic', out_indices=(0, 3), norm_cfg=dict(type='SyncBN', momentum=0.03))
    norms = [m for m in backbone.modules() if isinstance(m, _BatchNorm)]
    assert all(isinstance(m, nn.SyncBatchNorm) and m.momentum == 0.03 for m in norms)
    assert len(norms) == 5 * 5 + 2  # bn0, bn, bn2, bn and the predictor's in 5 blocks; outputs


@pytest.mark.parametrize('frozen_stages', [-1, 0, 2, 4])
def test_frozen_stages_stay_frozen_in_training(frozen_stages):
    backbone = nano('dynamic', frozen_stages=frozen_stages, out_indices=(0, 1, 2, 3)).train()
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
        elif 'running' in key or key.endswith('conv0.weight'):
            assert changed, key


def test_drop_path_grows_linearly_and_only_acts_in_training():
    backbone = nano(drop_path_rate=0.4)
    rates = [
        getattr(block.drop_path, 'drop_prob', 0.0)
        for stage in backbone.layers
        for block in stage.blocks
    ]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    x = images()
    torch.testing.assert_close(backbone.eval()(x), nano().eval()(x))
    assert not torch.equal(backbone.train()(x)[0], backbone(x)[0])


@pytest.mark.parametrize('mixer', MIXERS)
def test_checkpointing_changes_neither_gradients_nor_statistics(mixer):
    stored, recomputed = nano(mixer).train(), nano(mixer, with_cp=True).train()
    for backbone in (stored, recomputed):
        total(backbone(images())).backward()
    for (key, a), b in zip(stored.named_parameters(), recomputed.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, msg=key)
    torch.testing.assert_close(stored.state_dict(), recomputed.state_dict())


def test_checkpointing_saves_memory():
    def saved_bytes(backbone: DWNet) -> int:
        count = 0

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal count
            count += tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            backbone.train()(images())
        return count

    assert saved_bytes(nano(with_cp=True)) < 0.3 * saved_bytes(nano())


def test_init_weights():
    backbone = nano()
    weight = backbone.layers[3].blocks[0].mlp.fc1.weight
    assert weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not backbone.layers[3].blocks[0].mlp.fc1.bias.any()


def test_init_cfg_loads_weights(tmp_path):
    source = nano()
    torch.save({'state_dict': source.state_dict()}, tmp_path / 'nano.pth')
    torch.manual_seed(1)
    target = DWNet('nano', init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'nano.pth')))
    target.init_weights()
    torch.testing.assert_close(source.state_dict(), target.state_dict())


@pytest.mark.parametrize('mixer', MIXERS)
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_autocast_trains_and_infers(mixer, dtype):
    backbone = nano(mixer, out_indices=(0, 1, 2, 3)).train()
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


@pytest.mark.parametrize('mixer', MIXERS)
def test_compiles_without_graph_breaks(mixer):
    backbone = nano(mixer, out_indices=(0, 1, 2, 3)).eval()
    compiled = torch.compile(backbone, fullgraph=True, backend='aot_eager')
    x = images(2, 45, 64)
    torch.testing.assert_close(compiled(x), backbone(x))
    backbone.train()
    total(compiled(x)).backward()
    assert backbone.patch_embed.proj.weight.grad.isfinite().all()


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        (dict(arch='huge'), r"no arch 'huge': choose one of \['base', 'nano', 'tiny'\]"),
        (dict(arch=dict(embed_dims=32)), r"keys \['embed_dims'\]: give embed_dims and depths"),
        (dict(arch=dict(embed_dims=32, depths=(1, 1, 1))), r'depths=\(1, 1, 1\): .* 4 stages'),
        (dict(arch=dict(embed_dims=32, depths=(1, 1, 0, 1))), r'at least 1'),
        (dict(arch=dict(embed_dims=30, depths=(1, 1, 1, 1))), 'embed_dims=30'),
        (dict(out_indices=(0, 4)), r'out_indices=\(0, 4\): give stages from 0 to 3'),
        (dict(out_indices=()), r'out_indices=\(\)'),
        (dict(window_size=6), 'window_size=6, .* odd number'),
        (dict(mixer='attention'), "no mixer 'attention': choose one of"),
        (dict(drop_path_rate=1.0), 'drop_path_rate=1.0'),
        (dict(frozen_stages=5), 'frozen_stages=5'),
        (
            dict(arch=dict(embed_dims=48, depths=(1, 1, 1, 1)), mixer='inhomogeneous'),
            '32 groups of channels, which 48 channels cannot form',
        ),
    ],
)
def test_arguments_that_make_no_network(options, sentence):
    with pytest.raises(UserError, match=sentence):
        DWNet(**options)


@pytest.mark.parametrize('shape', [(3, 64, 64), (2, 1, 64, 64), (2, 64, 64, 3)])
def test_input_that_is_no_batch_of_images(shape):
    with pytest.raises(UserError, match=r'takes images as \(N, 3, H, W\)'):
        nano()(torch.zeros(shape))


def test_dynamic_mixer_needs_two_images_to_train():
    with pytest.raises(UserError, match=r'batch of two or more, or .*SyncBN'):
        nano('dynamic').train()(images(1))
    nano('dynamic').eval()(images(1))
    nano('dynamic', frozen_stages=4).train()(images(1))
