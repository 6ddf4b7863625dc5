"""Libraries that take their backbones from timm train with ours."""

import pytest
import timm
import torch
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign

import mmdwnet.timm  # noqa: F401  # registers the models

NEEDED = 'pip install -r requirements/timm_users.txt'


def images(*size: int) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(0))


def assert_trains(model: nn.Module, loss: Tensor, part: str) -> None:
    """Asserts that a step changes the first layer of the backbone, under `part`."""
    optimizer = torch.optim.AdamW(model.parameters())
    weight = model.get_submodule(part).patch_embed.proj.weight
    before = weight.detach().clone()
    loss.backward()
    optimizer.step()
    assert loss.isfinite() and not weight.equal(before)


@pytest.mark.parametrize('method', ['Unet', 'DeepLabV3Plus'])
def test_segmentation_models_pytorch(method):
    smp = pytest.importorskip('segmentation_models_pytorch', reason=NEEDED)
    model = getattr(smp, method)('tu-dwnet_tiny', encoder_weights=None, classes=3)
    out = model(images(2, 3, 64, 64))
    assert out.shape == (2, 3, 64, 64)
    assert_trains(model, out.square().mean(), 'encoder.model.model')


def test_transformers():
    transformers = pytest.importorskip('transformers', reason=NEEDED)
    config = transformers.TimmBackboneConfig(
        backbone='dwnet_tiny', use_pretrained_backbone=False, out_indices=(0, 1, 2, 3)
    )
    model = transformers.TimmBackbone(config)
    maps = model(images(2, 3, 64, 64)).feature_maps
    assert [out.shape[1:] for out in maps] == [(96, 16, 16), (192, 8, 8), (384, 4, 4), (768, 2, 2)]
    assert model.channels == [96, 192, 384, 768]
    assert_trains(model, sum(out.square().mean() for out in maps), '_backbone.model')


class Pyramid(nn.Module):
    """Our maps and torchvision's feature pyramid on them."""

    out_channels = 32

    def __init__(self) -> None:
        super().__init__()
        self.body = timm.create_model('dwnet_tiny', features_only=True)
        self.fpn = FeaturePyramidNetwork(self.body.feature_info.channels(), self.out_channels)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return self.fpn({str(i): out for i, out in enumerate(self.body(x))})


def test_torchvisions_faster_rcnn():
    names = [str(i) for i in range(4)]
    model = FasterRCNN(
        Pyramid(),
        num_classes=3,
        min_size=64,
        max_size=64,
        rpn_anchor_generator=AnchorGenerator(((16,), (32,), (64,), (128,)), ((0.5, 1.0, 2.0),) * 4),
        box_roi_pool=MultiScaleRoIAlign(names, 7, 2),
    )
    target = dict(boxes=torch.tensor([[4.0, 4.0, 40.0, 50.0]]), labels=torch.tensor([1]))
    losses = model(list(images(2, 3, 64, 64)), [target, target])
    assert_trains(model, sum(losses.values()), 'backbone.body.model')


@pytest.mark.parametrize('scope', ['mmpretrain', 'mmdet', 'mmseg'])
def test_openmmlabs_timm_backbones(scope):
    __import__(f'{scope}.models')
    kind = 'TIMMBackbone' if scope == 'mmseg' else 'mmpretrain.TIMMBackbone'
    options = dict(model_name='dwnet_tiny', features_only=True, pretrained=False)
    with DefaultScope.overwrite_default_scope(scope):
        model = MODELS.build(dict(type=kind, **options))
    maps = model(images(2, 3, 64, 64))
    assert [len(out[0]) for out in maps] == [96, 192, 384, 768]
    assert_trains(model, sum(out.square().mean() for out in maps), 'timm_model.model')
