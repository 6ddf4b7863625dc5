"""Exported models compute what the models do."""

from pathlib import Path

import numpy as np
import predict_onnx
import pytest
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DefaultScope
from torch import nn

from mmdwnet.apis.building import build_model
from mmdwnet.deploy.exporting.agreement import compare, predict
from mmdwnet.deploy.exporting.files import write
from mmdwnet.deploy.exporting.graphs import make_graph

from ...configs.opening import CLASSIFIERS, CONFIGS, DETECTORS, SEGMENTORS, SWIN_MLPS
from ..trained import trained

SIZES = [(96, 64), (75, 131)]
FINETUNE = [
    'finetune/dwnet_nano.py',
    'finetune/upernet_dwnet_nano.py',
    'finetune/cascade_mask_rcnn_dwnet_nano.py',
]
DENSE = [
    *SEGMENTORS[::2],
    'custom/semantic_fpn_dwnet_tiny_80k_ade20k.py',
    *DETECTORS[::2],
    'custom/mask_rcnn_dwnet_tiny_fpn_1x_coco.py',
    'custom/retinanet_dwnet_tiny_fpn_1x_coco.py',
]
# Scales of random weights with which scores differ and objects are found.
SCALES = dict(fc=1, conv_seg=1, rpn_cls=0.1, rpn_reg=0.1, fc_cls=0.1, fc_reg=0.01)
SCALES |= dict(retina_cls=3, retina_reg=0.1, conv_logits=1)


def decided(config: Config) -> nn.Module:
    """Build a model that decides, with statistics of BNs as in a trained one."""
    config.model.backbone.init_cfg = None
    torch.manual_seed(0)
    model = revert_sync_batchnorm(build_model(config))
    model.init_weights()
    generator = torch.Generator().manual_seed(1)
    for name, module in model.named_modules():
        scale = SCALES.get(name.rpartition('.')[2])
        if scale is not None:
            module.weight.data.normal_(generator=generator).mul_(scale)
    return trained(model)


@pytest.mark.parametrize(
    'dynamic', [True, pytest.param(False, marks=pytest.mark.slow)], ids=['dynamic', 'static']
)
@pytest.mark.parametrize(
    'name',
    [
        *FINETUNE,
        *(pytest.param(name, marks=pytest.mark.slow) for name in CLASSIFIERS + SWIN_MLPS + DENSE),
    ],
)
def test_onnx_agrees(tmp_path: Path, name: str, dynamic: bool) -> None:
    config = Config.fromfile(CONFIGS / name)
    settings = config.get('data_preprocessor') or config.model.data_preprocessor
    path = tmp_path / 'model.onnx'
    with DefaultScope.overwrite_default_scope(config.default_scope):
        model = decided(config)
        graph = make_graph(model, settings, normalize=True)
        write(graph, path, None if dynamic else SIZES[0], dict(outputs=graph.outputs))
        exported = predict_onnx.Model(str(path))
        for size in SIZES if dynamic else SIZES[:1]:
            image = np.random.default_rng(0).integers(0, 256, (1, 3, *size), np.uint8)
            outputs = exported.run(image)
            expected = predict(model, graph, torch.from_numpy(image))
            if 'masks' in outputs:
                about = dict(graph.describe({}))
                empty = predict_onnx.Image.new('RGB', size[::-1])
                result = predict_onnx.Result(empty, outputs, (1, 1), about, -1)
                outputs['masks'] = result.masks()
            print(compare(expected, outputs, name))
            if 'boxes' in outputs:
                assert len(outputs['boxes']) > 20
