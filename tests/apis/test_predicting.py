"""Trained models are loaded from a folder, a name or a config, and called with images."""

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

import mmdwnet
from mmdwnet.apis.results import Classification, Detection, Segmentation
from mmdwnet.errors import DataError, UserError

from .folders import CONFIGS

WorkDir = Callable[..., Path]


def refusal(*args: object, **options: object) -> str:
    with pytest.raises(UserError) as error:
        mmdwnet.load(*args, **options)
    assert '\n' not in str(error.value)
    return str(error.value)


def outputs(result: Classification | Detection | Segmentation) -> np.ndarray:
    """What a result says, in numbers."""
    if isinstance(result, Detection):
        return np.column_stack([result.boxes, result.scores])
    return result.map if isinstance(result, Segmentation) else result.scores


@pytest.mark.parametrize('task', CONFIGS)
def test_a_batch_predicts_what_single_images_do(task: str, work_dir: WorkDir, images: Path) -> None:
    if task == 'detect':  # where mmdet pads images to the same size
        (images / 'b.png').unlink()
        (images / 'c.BMP').unlink()
    model = mmdwnet.load(work_dir(task, constant=False))
    single, batch = model(images, score_thr=0), model(images, batch_size=3, score_thr=0)
    names = ['a.png', 'b.png', 'c.BMP', 'é.png']
    assert [Path(result.path).name for result in batch] == (
        names if task != 'detect' else ['a.png', 'é.png']
    )
    assert [result.path for result in single] == [result.path for result in batch]
    for one, other in zip(single, batch, strict=True):
        np.testing.assert_allclose(outputs(one), outputs(other), rtol=1e-3, atol=1e-3)
    assert not np.array_equal(outputs(batch[0]), outputs(batch[-1]))


def test_a_batch_of_detections_may_have_any_sizes(work_dir: WorkDir, images: Path) -> None:
    results = mmdwnet.load(work_dir('detect'))(images, batch_size=4)
    boxes = [result.boxes[0].round().tolist()[2:] for result in results]
    assert boxes == [[64, 64], [96, 48], [64, 80], [64, 64]]


def test_an_image_may_come_in_any_form(work_dir: WorkDir, images: Path) -> None:
    model = mmdwnet.load(work_dir('classify', constant=False))
    path = images / 'a.png'
    array, picture = cv2.imread(str(path)), Image.open(path)
    forms = [path, str(path), [path], array, picture, (form for form in [array])]
    results = [model(form) for form in forms]
    paths = [str(path)] * 3 + [None] * 3
    assert [[result.path for result in found] for found in results] == [[path] for path in paths]
    for (result,) in results[1:]:
        np.testing.assert_array_equal(result.scores, results[0][0].scores)
    assert len(model([path, [array, picture], images])) == 7


@pytest.mark.parametrize('task', ['detect', 'segment'])
def test_arrays_are_seen_as_files_are(task: str, work_dir: WorkDir, images: Path) -> None:
    model = mmdwnet.load(work_dir(task, constant=False))
    path = str(images / 'a.png')
    file, array = model([path, cv2.imread(path)], score_thr=0)
    np.testing.assert_array_equal(outputs(file), outputs(array))


def test_images_are_read_batch_by_batch(work_dir: WorkDir, images: Path) -> None:
    read = []

    def camera() -> Iterator[np.ndarray]:
        for number in range(5):
            read.append(number)
            yield np.full((64, 64, 3), number, np.uint8)

    stream = mmdwnet.load(work_dir('classify')).stream(camera(), batch_size=2)
    next(stream)
    assert read == [0, 1]
    assert len(list(stream)) == 4


@pytest.fixture
def server(images: Path) -> Iterator[str]:
    """Address of a server of the images."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(images))
    with ThreadingHTTPServer(('127.0.0.1', 0), handler) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{made.server_port}'
        made.shutdown()


def test_images_from_addresses(work_dir: WorkDir, images: Path, server: str) -> None:
    model = mmdwnet.load(work_dir('classify', constant=False))
    (result,), (same,) = model(f'{server}/a.png'), model(images / 'a.png')
    assert result.path == f'{server}/a.png'
    np.testing.assert_array_equal(result.scores, same.scores)
    with pytest.raises(DataError, match=rf'^the image {server}/none\.png cannot be read \(.*404'):
        model(f'{server}/none.png')
    with pytest.raises(DataError, match=r'notes\.txt is not an image'):
        model(f'{server}/notes.txt')


def test_an_image_that_cannot_be_read_is_named(work_dir: WorkDir, images: Path) -> None:
    folder = work_dir('classify')
    whole = (images / 'b.png').read_bytes()
    (images / 'b.png').write_bytes(whole[: len(whole) // 2])
    (images / 'c.BMP').write_text('no image')
    with pytest.raises(DataError, match=r'^the image .*images/b\.png is truncated: replace it'):
        mmdwnet.load(folder)(images, batch_size=4)
    cfg = Config.fromfile(folder / 'config.py')
    cfg.bad_data = 'skip'
    cfg.dump(str(folder / 'config.py'))
    for batch_size in (1, 2):
        results = mmdwnet.load(folder)(images, batch_size)
        assert [Path(result.path).name for result in results] == ['a.png', 'é.png']


def test_images_left_out_are_told(
    work_dir: WorkDir, images: Path, capsys: pytest.CaptureFixture
) -> None:
    (images / 'b.png').write_text('no image')
    mmdwnet.load(work_dir('classify', bad_data='skip'))(images)
    assert f'left out: the image {images}/b.png is not an image' in capsys.readouterr().out


def test_what_is_no_image(work_dir: WorkDir, images: Path, tmp_path: Path) -> None:
    model = mmdwnet.load(work_dir('classify'))
    (tmp_path / 'empty').mkdir()
    for given, said in {
        tmp_path / 'empty': r'^the folder .*/empty has no images \(\.jpg, ',
        tmp_path / 'nothing.png': r'^no image or folder at .*/nothing\.png',
        3: '^int is not an image: give a path',
    }.items():
        with pytest.raises(UserError, match=said):
            model(given)
    with pytest.raises(UserError, match='batch_size=0 is not a size'):
        model(images, batch_size=0)


def test_the_best_checkpoint_is_taken(work_dir: WorkDir, images: Path) -> None:
    folder = work_dir('classify')
    best = folder / 'best_score_epoch_2.pth'
    other = torch.load(best)
    other['state_dict']['head.fc.bias'].copy_(torch.arange(10))
    resumable = dict(**other, optimizer={})
    resumable['meta'] = dict(epoch=3, iter=30)
    torch.save(resumable, folder / 'epoch_3.pth')
    assert mmdwnet.load(folder)(images)[0].label == 'three'
    assert mmdwnet.load(folder, folder / 'epoch_3.pth')(images)[0].label == 'nine'
    torch.save(other, folder / 'best_score_epoch_4.pth')
    os.utime(best, (1, 1))
    assert mmdwnet.load(folder)(images)[0].label == 'nine'
    for path in folder.glob('best_*.pth'):
        path.unlink()
    assert mmdwnet.load(folder)(images)[0].label == 'nine'


def test_a_folder_with_its_run_below(work_dir: WorkDir, images: Path, tmp_path: Path) -> None:
    folder = work_dir('classify')
    (folder / 'run').mkdir()
    (folder / 'best_score_epoch_2.pth').rename(folder / 'run' / 'best_score_epoch_2.pth')
    config = folder / 'config.py'
    config.write_text(config.read_text() + "\nwork_dir = '{{ fileDirname }}/run'\n")
    assert mmdwnet.load(folder)(images)[0].label == 'three'
    moved = shutil.copytree(folder, tmp_path / 'moved')
    shutil.rmtree(folder)
    assert mmdwnet.load(moved)(images)[0].label == 'three'
    assert mmdwnet.load(os.path.relpath(moved))(images)[0].label == 'three'


def test_another_folders_checkpoint_is_not_taken(work_dir: WorkDir, tmp_path: Path) -> None:
    folder = work_dir('classify')
    copied = tmp_path / 'copied'
    copied.mkdir()
    config = (folder / 'config.py').read_text()
    (copied / 'config.py').write_text(f'{config}\nwork_dir = {str(folder)!r}\n')
    assert refusal(copied).startswith(f'the folder {copied} has no checkpoint to use: ')


def test_classes_are_those_of_the_checkpoint(work_dir: WorkDir, images: Path) -> None:
    names = ('naught', 'ace', 'deuce', 'trey', *'456789')
    for task, named in {'classify': 'trey', 'detect': '4', 'segment': 'deuce'}.items():
        classes = (*names, 'ten') if task == 'segment' else names
        model = mmdwnet.load(work_dir(task, meta=dict(dataset_meta=dict(classes=classes))))
        assert tuple(model.classes) == classes
        (result,) = model(images / 'a.png')
        assert named in str(result)
        result.draw()
        shutil.rmtree(images.parent / task)
    bad = work_dir('classify', meta=dict(dataset_meta=dict(classes=[1, 2])))
    assert 'has classes that are not names' in refusal(bad)


def test_a_config_with_weights(work_dir: WorkDir, images: Path) -> None:
    folder = work_dir('classify')
    config, weights = folder / 'config.py', folder / 'best_score_epoch_2.pth'
    assert mmdwnet.load(config, weights)(images)[0].label == 'three'
    assert refusal(config) == f'{config} comes without weights: give its checkpoint as weights=...'
    assert 'is of another model than the config describes' in refusal(CONFIGS['segment'], weights)
    assert refusal(config, 'nothing.pth').startswith('no checkpoint at nothing.pth')
    assert 'nowhere cannot be used' in refusal(folder, device='nowhere')


def test_what_cannot_be_loaded(work_dir: WorkDir, tmp_path: Path) -> None:
    assert refusal('dwnet_tny').startswith(
        "there is no folder or config dwnet_tny, and no model is named 'dwnet_tny': did you mean "
    )
    assert refusal(tmp_path).startswith(
        f'the folder {tmp_path} should have one config, and has none'
    )
    folder = work_dir('classify')
    (folder / 'best_score_epoch_2.pth').write_bytes(b'')
    assert 'best_score_epoch_2.pth' in refusal(folder)
    (folder / 'best_score_epoch_2.pth').rename(folder / 'epoch_1.pth')
    assert f'the folder {folder} has no checkpoint to use (' in refusal(folder)
    (folder / 'other.py').touch()
    assert 'should have one config, and has config.py, other.py' in refusal(folder)
    untested = Config.fromfile(CONFIGS['classify'])
    untested.test_dataloader = untested.test_cfg = untested.test_evaluator = None
    untested.dump(str(tmp_path / 'untested.py'))
    assert 'no test_dataloader.dataset.pipeline' in refusal(tmp_path / 'untested.py', 'x.pth')
