import importlib.util
import sys
from pathlib import Path

import mmpretrain
import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope

import mmdwnet
from mmdwnet.apis import hub
from mmdwnet.errors import UserError

from ..checkpoints import payloads
from .released import CLASSIFIER, DETECTOR, SEGMENTOR, weights_for, write_release

ROOT = Path(__file__).parents[2]

# Narrow, as detectors and segmentors enlarge it to 50 x 1333 and 77 x 2048 pixels.
IMAGE = np.random.default_rng(0).integers(0, 256, (24, 640, 3), dtype=np.uint8)
HEIGHT, WIDTH = IMAGE.shape[:2]


@pytest.fixture
def checkpoint(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Write a checkpoint for the model of the parameter, and return its path."""
    path = tmp_path / 'checkpoint.pth'
    torch.save({'state_dict': weights_for(request.param)}, path)
    return str(path)


@pytest.fixture
def release(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Write the released file of the model of the parameter, in the authors' format."""
    write_release(tmp_path, request.param)
    monkeypatch.setenv('DWNET_CHECKPOINT_DIR', str(tmp_path))


def refusal(*args: str) -> str:
    with pytest.raises(UserError) as error:
        mmdwnet.inferencer(*args)
    return str(error.value)


def is_golden_retriever(results: list[dict]) -> bool:
    (result,) = results
    assert result['pred_score'] == pytest.approx(np.exp(9) / (np.exp(9) + 999), rel=1e-5)
    return result['pred_class'] == 'golden retriever'


def test_names_are_those_of_the_configs() -> None:
    configs = {path for task in ('cls', 'det', 'seg') for path in ROOT.glob(f'configs/{task}/*.py')}
    assert mmdwnet.list_models() == sorted(path.stem for path in configs)
    assert {mmdwnet.config_path(name) for name in mmdwnet.list_models()} == configs
    assert mmdwnet.list_models('upernet_d*_tiny_*') == [
        'upernet_dwnet_tiny_160k_ade20k',
        'upernet_dynamic_dwnet_tiny_160k_ade20k',
    ]


def test_a_package_without_configs_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, '__file__', str(tmp_path / 'mmdwnet' / 'apis' / 'hub.py'))
    with pytest.raises(UserError, match='came without its configs: install mmdwnet by pip'):
        hub.root()


def test_mmpretrain_knows_the_classifiers() -> None:
    classifiers = sorted(path.stem for path in ROOT.glob('configs/cls/*dwnet*.py'))
    assert mmpretrain.list_models('*dwnet*') == classifiers
    hub.register()  # again
    assert mmpretrain.list_models('*dwnet*') == classifiers
    assert 'resnet50_8xb32_in1k' in mmpretrain.list_models()  # mmpretrain's own are still there


def test_mmpretrain_builds_a_classifier() -> None:
    model = mmpretrain.get_model(CLASSIFIER, pretrained=False)
    assert sum(p.numel() for p in model.parameters()) == 24_172_744


@pytest.mark.parametrize('checkpoint', [CLASSIFIER], indirect=True)
def test_classifier(checkpoint: str) -> None:
    assert is_golden_retriever(mmdwnet.inferencer(CLASSIFIER, checkpoint)(IMAGE))
    by_mmpretrain = mmpretrain.ImageClassificationInferencer(CLASSIFIER, checkpoint)
    assert is_golden_retriever(by_mmpretrain(IMAGE))


@pytest.mark.parametrize('release', [CLASSIFIER], indirect=True)
@pytest.mark.usefixtures('release')
def test_released_classifier() -> None:
    assert is_golden_retriever(mmdwnet.inferencer(CLASSIFIER)(IMAGE))
    by_mmpretrain = mmpretrain.ImageClassificationInferencer(CLASSIFIER)
    assert is_golden_retriever(by_mmpretrain(IMAGE))
    assert mmdwnet.load(CLASSIFIER)(IMAGE)[0].label == 'golden retriever'


@pytest.mark.parametrize('release', [DETECTOR], indirect=True)
@pytest.mark.usefixtures('release')
def test_released_detector() -> None:
    run = mmdwnet.inferencer(DETECTOR, device='cpu')
    (result,) = run(IMAGE)['predictions']
    assert [run.model.dataset_meta['classes'][label] for label in result['labels']] == ['dog']
    assert result['scores'] == pytest.approx([np.exp(9) / (np.exp(9) + 80)], rel=1e-5)
    assert result['bboxes'] == [pytest.approx([0, 0, WIDTH, HEIGHT], abs=0.1)]


@pytest.mark.parametrize('checkpoint', [SEGMENTOR], indirect=True)
def test_segmentor(checkpoint: str) -> None:
    run = mmdwnet.inferencer(SEGMENTOR, checkpoint, device='cpu')
    result = run(IMAGE, return_vis=True, opacity=1.0, with_labels=False)
    assert result['predictions'].shape == (HEIGHT, WIDTH)
    assert run.model.dataset_meta['classes'][result['predictions'].max()] == 'sky'
    assert (result['visualization'] == [6, 230, 230]).all()  # color of sky in ADE20K


@pytest.mark.parametrize('checkpoint', [SEGMENTOR], indirect=True)
def test_one_inferencer_does_not_stand_in_the_way_of_the_next(checkpoint: str) -> None:
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        mmdwnet.inferencer(SEGMENTOR, checkpoint, device='cpu')
        run = mmpretrain.ImageClassificationInferencer(CLASSIFIER, pretrained=False, device='cpu')
        assert run(IMAGE)[0]['pred_class']


def test_unknown_names() -> None:
    told = refusal('dwnet_tny')
    assert told.startswith("no model is named 'dwnet_tny': did you mean dwnet_tiny or ")
    told = refusal('configs/cls/nothing')
    assert told == "no model is named 'configs/cls/nothing': mmdwnet.list_models() gives all names"
    for function in (mmdwnet.config_path, mmdwnet.get_config):
        with pytest.raises(UserError, match='did you mean'):
            function('dwnet_tny')


@pytest.mark.parametrize('checkpoint', [CLASSIFIER], indirect=True)
def test_nothing_runs_on_random_weights(checkpoint: str) -> None:
    name = 'i_dynamic_dwnet_tiny'
    assert refusal(name).startswith(f'no weights of {name} are released: train it from ')
    assert refusal(name, 'nothing.pth').startswith('no checkpoint at nothing.pth')
    assert 'is of another model' in refusal(name, checkpoint)


def test_payloads_do_no_harm(tmp_path: Path) -> None:
    for payload in payloads.PAYLOADS.values():
        path = payloads.write(tmp_path / 'x.pth', payload, state_dict={})
        with payloads.harm() as harmed:
            assert 'cannot be read' in refusal(CLASSIFIER, str(path))
        assert not harmed


@pytest.mark.parametrize('checkpoint', [CLASSIFIER, SEGMENTOR], indirect=True)
def test_inferencers_use_what_was_checked(
    checkpoint: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, load = [], torch.load
    monkeypatch.setattr(
        torch, 'load', lambda *args, **more: read.append(args) or load(*args, **more)
    )
    mmdwnet.inferencer(request.node.callspec.params['checkpoint'], checkpoint, device='cpu')
    assert len(read) == 1


def test_models_are_found_without_mmpretrain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'mmpretrain', None)  # importing it fails
    spec = importlib.util.spec_from_file_location('fresh_hub', hub.__file__)
    fresh = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, 'fresh_hub', fresh)
    spec.loader.exec_module(fresh)
    assert fresh.list_models() == mmdwnet.list_models()
    assert fresh.config_path('dwnet_tiny') == mmdwnet.config_path('dwnet_tiny')


@pytest.mark.parametrize(
    'content',
    [
        '!!python/object/apply:os.mkdir [TRACE]',
        'Models: [&a !!python/object/apply:subprocess.check_call [[mkdir, TRACE]]]',
        '!!python/object/new:map [!!python/name:eval , [open("TRACE", "w")]]',
        '!!python/module:antigravity',
        'Models: {' * 100_000,
        'Models: [9' + '9' * 10_000 + ']',
        'Models: [2000-99-99]',
        '- Models',
        '\0',
        '',
    ],
)
def test_metafiles_are_data(tmp_path: Path, content: str):
    trace, path = tmp_path / 'trace', tmp_path / 'metafile.yml'
    path.write_text(content.replace('TRACE', str(trace)))
    with pytest.raises(UserError, match=r'metafile\.yml (cannot be read|is not a mapping)') as told:
        hub.read(path)
    assert '\n' not in str(told.value) and len(str(told.value)) < 1000
    assert not trace.exists()
    assert 'antigravity' not in sys.modules
