"""What cannot be exported is refused in a sentence; the model itself stays as it was."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from torch import Tensor, nn

from mmdwnet.apis.building import build_model
from mmdwnet.deploy.exporting.files import write
from mmdwnet.deploy.exporting.graphs import make_graph
from mmdwnet.errors import UserError

from ...configs.opening import CONFIGS, UPSTREAM

SETTINGS: dict = dict(mean=[0.0, 0.0, 0.0], std=[1.0, 1.0, 1.0], to_rgb=True)


def classifier(**backbone: object) -> nn.Module:
    config = Config.fromfile(CONFIGS / 'finetune/dwnet_nano.py')
    config.model.backbone.update(backbone)
    return build_model(config).eval()


@pytest.mark.parametrize('name', UPSTREAM)
def test_detectors_of_other_kinds(name: str) -> None:
    config = Config.fromfile(CONFIGS / name)
    config.model.backbone.init_cfg = None
    with pytest.raises(UserError, match=r'is not exported, only \w+: of the detectors, RetinaNet'):
        make_graph(build_model(config), config.model.data_preprocessor)


def test_classifiers_of_several_labels() -> None:
    config = Config.fromfile(CONFIGS / 'finetune/dwnet_nano.py')
    config.model.head = dict(type='MultiLabelLinearClsHead', num_classes=3, in_channels=256)
    with pytest.raises(UserError, match='MultiLabelLinearClsHead is not exported, only heads'):
        make_graph(build_model(config), SETTINGS)


def test_models_of_other_libraries() -> None:
    with pytest.raises(UserError, match='Linear is not exported: only classifiers of mmpretrain'):
        make_graph(nn.Linear(1, 1), SETTINGS)


def test_padding_to_a_fixed_size() -> None:
    with pytest.raises(UserError, match='pads test images to'):
        make_graph(classifier(), dict(SETTINGS, test_cfg=dict(size=(64, 64))))
    graph = make_graph(classifier(), dict(SETTINGS, test_cfg=dict(size=None, size_divisor=32)))
    assert graph.inputs(torch.zeros(1, 3, 33, 64)).shape == (1, 3, 64, 64)


def test_operators_that_onnx_lacks(tmp_path: Path) -> None:
    class Bessel(nn.Module):
        def forward(self, maps: tuple[Tensor]) -> tuple[Tensor]:
            return (torch.special.bessel_j0(maps[-1].mean((2, 3))),)

    model = classifier()
    model.neck = Bessel()
    with pytest.raises(UserError, match='aten::special_bessel_j0, which ONNX lacks'):
        write(make_graph(model, SETTINGS), tmp_path / 'a.onnx', (32, 32), {})


def test_norms_that_cannot_be_folded_are_left() -> None:
    model = classifier(norm_cfg=dict(type='GN', num_groups=4))
    image = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model.head(model.extract_feat(image)).softmax(1)
        assert make_graph(model, SETTINGS)(image).equal(expected)


def test_the_model_is_not_changed() -> None:
    model = classifier()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    make_graph(model, SETTINGS)
    assert before.keys() == model.state_dict().keys()
    assert all(value.equal(before[key]) for key, value in model.state_dict().items())
