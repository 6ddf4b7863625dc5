"""Configs that name classes by themselves: with `type=OptimWrapper`, in pure Python."""

from pathlib import Path

import pytest
import torch
from complexity import default_shape
from get_flops import main as get_flops
from mmcv.transforms import CenterCrop
from mmengine.config import Config

BASE = """
from mmengine.dataset import DefaultSampler, default_collate
from mmengine.hooks import CheckpointHook, LoggerHook
from mmengine.optim import OptimWrapper
from mmpretrain.datasets import ImageNet, LoadImageFromFile, PackInputs, RandomResizedCrop
from mmpretrain.engine import VisualizationHook
from mmpretrain.evaluation import Accuracy
from mmpretrain.visualization import UniversalVisualizer
from torch.optim import AdamW

default_scope = None
train_dataloader = val_dataloader = test_dataloader = dict(
    batch_size=5,
    num_workers=0,
    collate_fn=dict(type=default_collate),
    sampler=dict(type=DefaultSampler, shuffle=True),
    dataset=dict(
        type=ImageNet,
        data_root=ROOT,
        data_prefix='train',
        metainfo=dict(classes=[str(i) for i in range(10)]),
        pipeline=[
            dict(type=LoadImageFromFile),
            dict(type=RandomResizedCrop, scale=32),
            dict(type=PackInputs),
        ],
    ),
)
val_evaluator = test_evaluator = dict(type=Accuracy, topk=(1,))
optim_wrapper = dict(type=OptimWrapper, optimizer=dict(type=AdamW, lr=1e-3))
train_cfg = dict(by_epoch=True, max_epochs=1)
val_cfg = test_cfg = dict()
default_hooks = dict(
    checkpoint=dict(type=CheckpointHook, interval=1),
    logger=dict(type=LoggerHook, interval=1),
    visualization=dict(type=VisualizationHook, enable=False),
)
visualizer = dict(type=UniversalVisualizer, vis_backends=[])
"""
MODEL = """
from mmengine.config import read_base
from mmpretrain.models import AverageClsScoreTTA, ClsDataPreprocessor, GlobalAveragePooling
from mmpretrain.models import ImageClassifier, LinearClsHead
from mmpretrain.datasets import LoadImageFromFile, PackInputs
from mmcv.transforms import RandomFlip, TestTimeAug
from torch.nn import SyncBatchNorm

from mmdwnet import DWNet

with read_base():
    from .base import *

model = dict(
    type=ImageClassifier,
    data_preprocessor=dict(type=ClsDataPreprocessor, num_classes=10),
    backbone=dict(type=DWNet, arch='nano', norm_cfg=dict(type=NORM)),
    neck=dict(type=GlobalAveragePooling),
    head=dict(type=LinearClsHead, num_classes=10, in_channels=256, topk=(1,)),
)
tta_model = dict(type=AverageClsScoreTTA)
tta_pipeline = [
    dict(type=LoadImageFromFile),
    dict(
        type=TestTimeAug,
        transforms=[[dict(type=RandomFlip, prob=p) for p in (0.0, 1.0)], [dict(type=PackInputs)]],
    ),
]
"""


@pytest.fixture
def options() -> list[str]:
    """No changes but one, for the sake of the option."""
    return ['optim_wrapper.optimizer.lr=0.002']


@pytest.fixture
def lazy(data_root: Path, tmp_path: Path) -> str:
    """Path of a classifier's config in pure Python."""
    (tmp_path / 'base.py').write_text(BASE.replace('ROOT', repr(str(data_root))))
    path = tmp_path / 'lazy.py'
    path.write_text(MODEL.replace('NORM', 'SyncBatchNorm'))
    return str(path)


def test_training_and_testing(command, lazy, tmp_path: Path):
    assert command('train', lazy, '--amp', 'bfloat16')[0] == 0
    (log,) = (tmp_path / 'work').rglob('*.log')
    assert 'GuardedOptimWrapper trains in torch.bfloat16' in log.read_text()
    checkpoint = tmp_path / 'work' / 'epoch_1.pth'
    state = torch.load(checkpoint, weights_only=False)
    assert state['optimizer']['param_groups'][0]['lr'] == 0.002
    # The config that is written gives the same model.
    written = Config.fromfile(tmp_path / 'work' / 'lazy.py')
    assert 'ImageClassifier' in str(written.model.type)

    for name, *args in (('plain', '--show-dir', str(tmp_path / 'shown')), ('tta', '--tta')):
        out = tmp_path / f'{name}.pkl'
        args += ['--out', str(out), '--fuse', '--work-dir', str(tmp_path / name)]
        assert command('test', lazy, str(checkpoint), *args)[0] == 0
        assert out.stat().st_size
    assert len(list((tmp_path / 'shown').iterdir())) == 10


def test_bad_input_is_refused(refusal, lazy, data_root: Path):
    for picture in (data_root / 'train').rglob('*.png'):
        picture.unlink()
    assert f'{data_root / "train"} holds no files' in refusal('train', lazy)


def test_counting(lazy, capsys):
    assert get_flops([lazy]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split()[:2] == ['ImageClassifier', '1,251,082']


def test_counting_at_the_crop_of_the_config():
    dataset = dict(pipeline=[dict(type=CenterCrop, crop_size=96)])
    cfg = Config(dict(default_scope='mmpretrain', test_dataloader=dict(dataset=dataset)))
    assert default_shape(cfg) == (96, 96)
