"""Training by the custom configs with mmdet's recipes: small, but with all that a Runner does."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mmdet.datasets import CocoDataset
from mmengine.config import Config

from mmdwnet.cli import train

from .opening import CONFIGS, DINO, MASK2FORMER, RTMDET_INS, UPSTREAM

ONE_OR_ALL = [UPSTREAM[0], *(pytest.param(name, marks=pytest.mark.slow) for name in UPSTREAM[1:])]


def smaller(value: Any, key: str = '') -> Any:
    """Return a part of a config with one layer per transformer, for images of a tenth the size."""
    if key == 'num_layers':
        return 1
    if isinstance(value, dict):
        return {name: smaller(one, name) for name, one in value.items()}
    if isinstance(value, list):
        return [smaller(one, key) for one in value]
    if isinstance(value, tuple) and key in ('crop_size', 'img_scale', 'scale', 'scales', 'size'):
        return tuple(max(64, side // 320 * 32) for side in value)
    return value


@pytest.fixture
def training(
    coco: Path, tmp_path: Path, forget: Callable[[], None], capsys: pytest.CaptureFixture
) -> Callable[..., tuple[int, str, str]]:
    """Trains two steps or more on a good image and an empty file; returns code, stderr and log."""
    for split in ('train2017', 'val2017'):
        (coco / split / 'empty.jpg').write_bytes(b'')
        path = coco / 'annotations' / f'instances_{split}.json'
        content = json.loads(path.read_text())
        image, first = content['images'][0], content['annotations'][0]
        content['images'].append({**image, 'id': 2, 'file_name': 'empty.jpg'})
        content['annotations'].append({**first, 'id': 99, 'image_id': 2})
        content['categories'] = [
            dict(id=number, name=kind)
            for number, kind in enumerate(CocoDataset.METAINFO['classes'], 1)
        ]
        path.write_text(json.dumps(content))

    def train_by(name: str, *args: str, epochs: int = 1, **changes: Any) -> tuple[int, str, str]:
        forget()
        config = Config(smaller(Config.fromfile(CONFIGS / name).to_dict()))
        config.model.backbone.update(
            arch=dict(embed_dims=96, depths=(1, 1, 1, 1)), norm_cfg=dict(type='BN'), init_cfg=None
        )
        for split in ('train', 'val', 'test'):
            config[f'{split}_dataloader'].update(
                num_workers=0, persistent_workers=False, batch_size=1
            )
            config[f'{split}_dataloader'].dataset.data_root = str(coco)
        for split in ('val', 'test'):
            annotations = coco / 'annotations' / 'instances_val2017.json'
            config[f'{split}_evaluator'].ann_file = str(annotations)
        if name == MASK2FORMER:
            config.train_cfg.update(max_iters=2 * epochs, val_interval=2 * epochs)
            config.train_cfg.dynamic_intervals = None
        else:
            config.train_cfg.max_epochs = epochs
        if name == DINO:
            config.model.num_queries = 10  # small maps have few positions
        if name == RTMDET_INS:
            config.custom_hooks[1].switch_epoch = 1
        config.update(changes)
        config.dump(tmp_path / 'small.py')
        capsys.readouterr()
        work_dir = tmp_path / 'work'
        code = train.main([str(tmp_path / 'small.py'), '--work-dir', str(work_dir), *args])
        log = ''.join(path.read_text() for path in sorted(work_dir.rglob('*.log')))
        return code, capsys.readouterr().err, log

    return train_by


@pytest.mark.parametrize('name', ONE_OR_ALL)
def test_a_bad_image_ends_the_run_in_one_sentence(name, training):
    code, stderr, _ = training(name)
    assert code == 2
    assert 'Traceback' not in stderr
    sentence = stderr.strip().splitlines()[-1]
    assert 'train2017/empty.jpg is empty' in sentence
    assert sentence.endswith("or set bad_data='skip' in the config")


@pytest.mark.parametrize('name', ONE_OR_ALL)
def test_bad_images_are_skipped_if_asked_for(name, training, tmp_path):
    code, stderr, log = training(name, bad_data='skip')
    assert code == 0, stderr
    assert '1 of 2 samples were bad and replaced by others' in log
    if name == MASK2FORMER:
        assert '1 of 2 samples are left out of the scores' in log
        assert 'coco/segm_mAP' in log
        assert (tmp_path / 'work' / 'iter_2.pth').exists()
    else:
        assert (tmp_path / 'work' / 'epoch_1.pth').exists()


@pytest.mark.slow
def test_rtmdet_ins_resumes_and_goes_over_to_its_second_pipeline(training):
    assert training(RTMDET_INS, bad_data='skip')[0] == 0
    code, stderr, log = training(RTMDET_INS, '--resume', epochs=2, bad_data='skip')
    assert code == 0, stderr
    assert 'resumed epoch: 1, iter: 2' in log
    assert 'Switch pipeline now!' in log
    # Bad images are still found then.
    assert log.count('1 of 2 samples were bad and replaced by others') == 2
    assert 'Epoch(val) [2]' in log
