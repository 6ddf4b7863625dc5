"""Every method that mmdet and mmseg ship takes a step and predicts with DWNet as its backbone."""

from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS, DefaultScope

from mmdwnet import DWNet

from .upstream import LIBRARIES, batch, lighten, methods, put_dwnet_in

METHODS = list(methods())
# Some that failed before their operators were there.
FAST = ('dyhead', 'guided_anchoring', 'psanet', 'reppoints')
CANNOT = {
    'grounding_dino': 'reads its text with BERT, whose weights have to be downloaded',
    'icnet': "runs the layers of a ResNet by name, as it changes the images' size between them",
    'misc': "has Detectron2's models, without a backbone of OpenMMLab",
    'tridentnet': 'is a ResNet itself, whose last stage has three branches',
}


@pytest.fixture(scope='module', autouse=True)
def process_group() -> Iterator[None]:
    """A group of this process alone, which mmcv's synchronized batch normalization needs."""
    dist.init_process_group('gloo', store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def folder(method: tuple[str, str]) -> str:
    return method[1].partition('/')[0]


def test_all_are_found() -> None:
    found = {library: [m for m in METHODS if m[0] == library] for library in LIBRARIES}
    assert len(found['mmdet']) >= 90
    assert len(found['mmseg']) >= 25
    assert set(CANNOT) < {folder(method) for method in METHODS}
    assert set(FAST) < {folder(method) for method in METHODS}
    assert len(CANNOT) <= 4


@pytest.mark.parametrize(
    'method',
    [
        pytest.param(method, marks=[] if folder(method) in FAST else pytest.mark.slow)
        for method in METHODS
        if folder(method) not in CANNOT
    ],
    ids='/'.join,
)
def test_takes_a_training_step_and_predicts(
    method: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    library, name = method
    monkeypatch.chdir(LIBRARIES[library])  # distillation reads its teacher's config from here
    torch.manual_seed(0)
    config = Config.fromfile(f'configs/{name}')
    put_dwnet_in(config)
    lighten(config)
    with DefaultScope.overwrite_default_scope(library):
        try:
            model = revert_sync_batchnorm(MODELS.build(config.model))
        except RuntimeError as error:
            if 'is not installed' not in str(error):
                raise
            pytest.skip(str(error))  # a package that mmdet does not require
        model.init_weights()
        if config.get('train_dataloader'):  # otherwise its parts are trained by others
            take_a_training_step(config, model)
        predict(config, model)


def take_a_training_step(config: Config, model: torch.nn.Module) -> None:
    backbones = [module for module in model.modules() if isinstance(module, DWNet)]
    weights = [backbone.patch_embed.proj.weight for backbone in backbones]
    before = [weight.detach().clone() for weight in weights]
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    for key in ('epoch', 'iter'):
        MessageHub.get_current_instance().update_info(key, 0)  # as a Runner does
    model.train()
    losses = model.train_step(batch(config, training=True), OptimWrapper(optimizer))
    assert losses['loss'].isfinite()
    assert any(not torch.equal(*pair) for pair in zip(weights, before, strict=True))
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def predict(config: Config, model: torch.nn.Module) -> None:
    data = batch(config, training=False)
    model.eval()
    with torch.no_grad():
        results = model.test_step(data)
    assert len(results) == len(data['data_samples'])
    for result in results:
        found = [key for key, _ in result.all_items() if key.startswith('pred')]
        assert found or 'video_data_samples' in result
        if 'pred_instances' in found:
            assert result.pred_instances.bboxes.isfinite().all()
        if 'pred_sem_seg' in found:
            assert result.pred_sem_seg.data.shape == (1, *result.ori_shape)
