"""Models are exported with what they predict compared, and bad input is told in a sentence."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import predict_onnx
import pytest
from PIL import Image

import mmdwnet
from mmdwnet.cli.export import main

from ..apis.folders import make_images, make_work_dir
from ..hiding import OPENMMLAB, run_without

Export = Callable[..., tuple[int, str, str]]
TOOL = Path(__file__).parents[2] / 'tools' / 'deploy' / 'predict_onnx.py'
CHECKPOINT = 'best_score_epoch_2.pth'


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with four images."""
    return make_images(tmp_path)


@pytest.fixture
def export(tmp_path: Path, images: Path, capsys: pytest.CaptureFixture) -> Export:
    """Exports from a folder, in this process; returns the exit code, stdout and stderr."""

    def run(folder: Path, *args: object, out: str = 'out.onnx') -> tuple[int, str, str]:
        capsys.readouterr()
        options = ['--out', tmp_path / out, *args]
        if '--images' not in args:
            options += ['--images', images]
        config = [folder / 'config.py', folder / CHECKPOINT]
        return main(predict_onnx, [str(arg) for arg in config + options]), *capsys.readouterr()

    return run


@pytest.mark.parametrize('task', ['classify', 'detect', 'segment'])
def test_as_tools_predict(export: Export, images: Path, tmp_path: Path, task: str) -> None:
    folder = make_work_dir(tmp_path, task)
    code, printed, told = export(folder, '--dynamic', '--normalise')
    assert code == 0, told
    assert printed.count(str(images)) == 4
    exported = predict_onnx.Model(str(tmp_path / 'out.onnx'))
    for expected in mmdwnet.load(folder).stream(images):
        with Image.open(expected.path) as image:
            result = exported(image)
        found, wanted = result.fields(), json.loads(expected.to_json())
        assert found.keys() == wanted.keys() - {'path'}
        assert str(result) == str(expected).partition(': ')[2]
        assert result.draw().size == image.size
        if task == 'classify':
            assert found['scores'] == pytest.approx(wanted['scores'], abs=1e-3)
        elif task == 'segment':
            assert (result.map == expected.map).all()
        else:
            assert (result.masks() == expected.masks).all()


def test_a_program_of_torch(export: Export, tmp_path: Path) -> None:
    folder = make_work_dir(tmp_path, 'classify', constant=False)
    code, _, told = export(folder, '--shape', 32, 32, out='out.pt2')
    assert code == 0, told
    assert (tmp_path / 'out.pt2').is_file()


def test_the_config_s_test_images(export: Export, tmp_path: Path, data_root: Path) -> None:
    folder = make_work_dir(
        tmp_path, 'classify', **{'test_dataloader.dataset.data_root': str(data_root)}
    )
    config = [str(folder / 'config.py'), str(folder / CHECKPOINT)]
    assert main(predict_onnx, [*config, '--out', str(tmp_path / 'out.onnx'), '--dynamic']) == 0


@pytest.mark.parametrize(
    ('task', 'args', 'part'),
    [
        ('classify', ['--dynamic', '--shape', 32, 32], 'leave --shape out'),
        ('classify', ['--shape', 0, 32], 'give height and width'),
        ('segment', [], '--shape H W, or --dynamic'),
        (
            'detect',
            ['--dynamic', '--cfg-options', 'model.test_cfg.rcnn.nms.type=soft_nms'],
            'ONNX has no soft_nms',
        ),
        (
            'segment',
            ['--dynamic', '--cfg-options', 'model.test_cfg.mode=slide'],
            "test_cfg.mode='slide'",
        ),
        ('classify', ['--images', 'nowhere'], 'nowhere'),
    ],
)
def test_refusals(export: Export, tmp_path: Path, task: str, args: list[object], part: str) -> None:
    code, _, told = export(make_work_dir(tmp_path, task), *args)
    assert code == 2
    assert part in told.splitlines()[-1]
    assert not (tmp_path / 'out.onnx').exists()


def test_other_refusals(export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_work_dir(tmp_path, 'classify')
    for out, args, part in [
        ('out.pb', [], 'ends in .onnx or .pt2'),
        ('out.pt2', ['--dynamic'], 'give --shape, or name an .onnx file'),
    ]:
        code, _, told = export(folder, *args, out=out)
        assert code == 2
        assert part in told.splitlines()[-1]
    other = make_work_dir(tmp_path, 'segment')
    (folder / CHECKPOINT).write_bytes((other / CHECKPOINT).read_bytes())
    code, _, told = export(folder)
    assert code == 2
    assert 'checkpoint' in told.splitlines()[-1]
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    code, _, told = export(folder)
    assert code == 2
    assert told.splitlines()[-1] == 'export to ONNX needs onnxruntime: pip install onnxruntime'


def test_no_test_images(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = make_work_dir(tmp_path, 'classify')
    config = [str(folder / 'config.py'), str(folder / CHECKPOINT)]
    assert main(predict_onnx, [*config, '--out', str(tmp_path / 'out.onnx')]) == 2
    assert 'or give images to compare predictions on as --images' in capsys.readouterr().err


def test_prediction_needs_neither_torch_nor_openmmlab(
    export: Export, images: Path, tmp_path: Path
) -> None:
    assert export(make_work_dir(tmp_path, 'segment'), '--dynamic')[0] == 0
    command = [str(TOOL), str(tmp_path / 'out.onnx'), str(images), '--out', str(tmp_path / 'drawn')]
    script = f'import runpy; sys.argv = {command}; runpy.run_path(sys.argv[0], None, "__main__")'
    printed = run_without({'torch', 'mmdwnet', 'cv2', *OPENMMLAB}, script)
    assert printed.count(': one 100%') == 4
    assert cv2.imread(str(tmp_path / 'drawn' / '1_b.png')).shape == (48, 96, 3)
