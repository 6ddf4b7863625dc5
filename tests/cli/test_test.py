import json
import pickle
from pathlib import Path

import cv2
import pytest
import torch
from mmengine.config import Config

from mmdwnet.apis.building import build_model


@pytest.fixture
def checkpoint(config, tmp_path: Path) -> Path:
    """Weights of the demo's classifier, untrained."""
    torch.manual_seed(0)
    path = tmp_path / 'weights.pth'
    torch.save(dict(state_dict=build_model(Config.fromfile(config)).state_dict()), path)
    return path


def metrics(work_dir: Path) -> dict[str, float]:
    (path,) = (path for path in work_dir.glob('*/*.json'))
    return json.loads(path.read_text())


def test_metrics_predictions_and_pictures_agree(command, config, checkpoint: Path, tmp_path: Path):
    out, shown = tmp_path / 'out' / 'predictions.pkl', tmp_path / 'shown'
    args = (str(checkpoint), '--out', str(out), '--show-dir', str(shown))
    assert command('test', config, *args)[0] == 0

    predictions = pickle.loads(out.read_bytes())
    assert len(predictions) == 10
    right = [int(p['pred_label']) == int(p['gt_label']) for p in predictions]
    assert metrics(tmp_path / 'work')['accuracy/top1'] == pytest.approx(100 * sum(right) / 10)

    pictures = list(shown.iterdir())
    assert len(pictures) == 10
    assert all(cv2.imread(str(picture)) is not None for picture in pictures)


def test_check_writes_nothing(command, config, checkpoint: Path, tmp_path: Path):
    before = sorted(tmp_path.rglob('*'))
    args = (str(checkpoint), '--check', '--out', str(tmp_path / 'a' / 'x.pkl'))
    assert command('test', config, *args) == (0, '')
    assert sorted(tmp_path.rglob('*')) == before


def test_predictions_go_into_a_pickle(refusal, config, checkpoint: Path):
    assert 'name a .pkl file' in refusal('test', config, str(checkpoint), '--out', 'x.json')


def test_tta_needs_a_config_for_it(refusal, config, checkpoint: Path):
    said = refusal('test', config, str(checkpoint), '--tta')
    assert said == f'the config {config} has no tta_pipeline: add it'


def test_tta_is_not_drawn_by_mmpretrain(refusal, config, checkpoint: Path, tmp_path: Path):
    changes = ('tta_model.type=AverageClsScoreTTA', 'tta_pipeline.0.type=LoadImageFromFile')
    args = (str(checkpoint), '--tta', '--show-dir', str(tmp_path / 'shown'))
    assert '--show-dir does not work with --tta' in refusal('test', config, *args, changes=changes)


def test_tta_averages_an_image_and_its_mirror(command, config, checkpoint: Path, tmp_path: Path):
    flips = [dict(type='RandomFlip', prob=prob) for prob in (0.0, 1.0)]
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='TestTimeAug', transforms=[flips, [dict(type='PackInputs')]]),
    ]
    with_tta = tmp_path / 'with_tta.py'
    with_tta.write_text(
        f'_base_ = {config!r}\n'
        "tta_model = dict(type='AverageClsScoreTTA')\n"
        f'tta_pipeline = {pipeline}\n'
    )
    scores = {}
    for name, *options in (('plain',), ('tta', '--tta')):
        out = str(tmp_path / f'{name}.pkl')
        work_dir = str(tmp_path / name)
        args = (str(checkpoint), '--out', out, '--work-dir', work_dir, *options)
        assert command('test', str(with_tta), *args)[0] == 0
        scores[name] = [p['pred_score'] for p in pickle.loads(Path(out).read_bytes())]
    assert len(scores['tta']) == len(scores['plain']) == 10
    assert not torch.allclose(scores['tta'][0], scores['plain'][0])
    assert torch.stack(scores['tta']).sum(1) == pytest.approx(1)


def test_fused_predictions_are_the_same(command, config, checkpoint: Path, tmp_path: Path):
    scores = {}
    for name, *options in (('plain',), ('fused', '--fuse')):
        out = str(tmp_path / f'{name}.pkl')
        args = (str(checkpoint), '--out', out, '--work-dir', str(tmp_path / name), *options)
        assert command('test', config, *args)[0] == 0
        predictions = pickle.loads(Path(out).read_bytes())
        scores[name] = torch.stack([p['pred_score'] for p in predictions])
    torch.testing.assert_close(scores['fused'], scores['plain'], rtol=1e-4, atol=1e-6)
    assert not torch.equal(scores['fused'], scores['plain'])  # as rounded otherwise
