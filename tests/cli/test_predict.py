"""Predictions are printed, a line for each image, and drawn."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

from mmdwnet.cli.predict import main

from ..apis.folders import make_images, make_work_dir

Predict = Callable[..., tuple[int, str, str]]


@pytest.fixture
def predict(capsys: pytest.CaptureFixture) -> Predict:
    """Runs the command in this process; returns the exit code, stdout and stderr."""

    def run(*args: object) -> tuple[int, str, str]:
        capsys.readouterr()
        return main([str(arg) for arg in args]), *capsys.readouterr()

    return run


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with four images."""
    return make_images(tmp_path)


def test_a_line_for_each_image(predict: Predict, images: Path, tmp_path: Path) -> None:
    code, printed, _ = predict(make_work_dir(tmp_path, 'classify'), images, '--batch-size', 4)
    names = ['a.png', 'b.png', 'c.BMP', 'more of them/é.png']
    assert code == 0
    assert printed.splitlines() == [f'{images}/{name}: three 1.00' for name in names]


def test_json_lines(predict: Predict, images: Path, tmp_path: Path) -> None:
    files = images / 'b.png', images / 'a.png'
    folder = make_work_dir(tmp_path, 'detect')
    code, printed, _ = predict(folder, *files, '--json', '--score-thr', 0.9)
    assert code == 0
    found = [json.loads(line) for line in printed.splitlines()]
    assert [each['path'] for each in found] == [str(file) for file in files]
    assert [each['objects'][0]['label'] for each in found] == ['four', 'four']
    _, printed, _ = predict(folder, files[0], '--json', '--score-thr', 1)
    assert json.loads(printed)['objects'] == []


def test_drawings_lie_as_the_images_do(predict: Predict, images: Path, tmp_path: Path) -> None:
    folder, out = make_work_dir(tmp_path, 'segment'), tmp_path / 'out'
    (images / 'a.png').rename(images / 'a')
    code, _, told = predict(folder, images / 'a', images, '--out', out)
    assert code == 0, told
    drawn = {str(path.relative_to(out)) for path in out.rglob('*') if path.is_file()}
    assert drawn == {'a.png', 'b.png', 'c.BMP', 'more of them/é.png'}
    assert cv2.imread(str(out / 'b.png')).shape == (48, 96, 3)
    code, _, told = predict(folder, images, '--out', images)
    assert code == 2 and 'has the images, which would be overwritten' in told


def test_bad_images_end_it_or_are_skipped(predict: Predict, images: Path, tmp_path: Path) -> None:
    (images / 'b.png').write_text('no image')
    folder = make_work_dir(tmp_path, 'classify')
    code, printed, told = predict(folder, images)
    assert (code, printed) == (2, f'{images}/a.png: three 1.00\n')
    assert told.splitlines()[-1] == (
        f'the image {images}/b.png is not an image: replace it, or leave it out'
    )
    code, printed, told = predict(folder, images, '--bad-data', 'skip')
    assert code == 0 and len(printed.splitlines()) == 3
    assert f'left out: the image {images}/b.png is not an image' in told


def test_bad_input_is_told_before_the_model_is_loaded(
    predict: Predict, images: Path, tmp_path: Path
) -> None:
    code, _, told = predict('nothing', tmp_path / 'none.png')
    assert code == 2 and told.startswith('no image or folder at ')
    code, _, told = predict('nothing', images)
    assert code == 2 and told.startswith('there is no folder or config nothing, and ')
    (tmp_path / 'file').touch()
    code, _, told = predict('nothing', images, '--out', tmp_path / 'file')
    assert code == 2 and 'cannot be written' in told


def test_a_folder_that_a_training_wrote(
    command: Callable[..., tuple[int, str]],
    config: str,
    predict: Predict,
    data_root: Path,
    tmp_path: Path,
) -> None:
    code, told = command('train', config)
    assert code == 0, told
    code, printed, told = predict(tmp_path / 'work', data_root / 'val', '--batch-size', 10)
    assert code == 0, told
    names = ['zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine']
    assert len(printed.splitlines()) == 10
    assert {line.split()[-2] for line in printed.splitlines()} <= set(names)
