"""Every block of Python in the texts: files that are saved, configs, and programs, which run."""

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import predict_onnx
import pytest
from mmengine.config import Config
from mmengine.registry import MODELS

from mmdwnet import MIXERS
from mmdwnet.apis.building import build_model
from mmdwnet.cli import export

from ..apis.folders import make_images
from ..apis.released import CLASSIFIER, DETECTOR, SEGMENTOR, write_release
from .snippets import Snippet, make_checkout, snippets

# Some are in two texts.
BLOCKS = list({block.code: block for block in snippets('python')}.values())
FILES = [block for block in BLOCKS if block.file]
CONFIGS = [block for block in BLOCKS if not re.search(r'^(import|from) ', block.code, re.M)]
PROGRAMS = [block for block in BLOCKS if block not in CONFIGS and block not in FILES]
# In those that take long, as they compile, export, or load large models.
LONG = ('deploy.compile', 'predict_onnx', 'Inferencer(')


def is_long(block: Snippet) -> bool:
    return any(word in block.code for word in LONG)


@pytest.fixture(scope='module')
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A checkout with trained models and the files that the texts have readers save."""
    folder = make_checkout(tmp_path_factory.mktemp('checkout'), 'classify', 'detect')
    photos = make_images(folder).rename(folder / 'photos')
    shutil.copy(photos / 'a.png', folder / 'photo.jpg')
    (folder / 'work_dirs' / 'classify_photos').symlink_to('demo/classify')
    (folder / 'work_dirs' / 'digits').symlink_to('demo/detect')
    scenes = folder / 'data' / 'digit_scenes' / 'coco'
    scenes.mkdir(parents=True)
    (scenes / 'val2017').symlink_to(photos)
    for block in FILES:
        (folder / block.file).write_text(block.code)
    known = set(MIXERS.module_dict)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder
    for block in FILES:
        sys.modules.pop(Path(block.file).stem, None)
    for name in set(MIXERS.module_dict) - known:
        del MIXERS.module_dict[name]


def execute(block: Snippet) -> None:
    # Tracebacks show the line of the text.
    exec(compile('\n' * (block.line - 1) + block.code, block.text, 'exec'), {})


@pytest.mark.parametrize('block', [each for each in PROGRAMS if not is_long(each)], ids=str)
def test_programs_run(block: Snippet, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkout)
    execute(block)


@pytest.mark.parametrize('block', CONFIGS, ids=str)
def test_configs_are_read(
    block: Snippet, checkout: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(checkout)
    (tmp_path / 'config.py').write_text(block.code)
    config = Config.fromfile(tmp_path / 'config.py')
    if '_base_' in block.code:
        build_model(config)
    elif 'model' in config:
        assert MODELS.build(config.model.backbone)


@pytest.mark.slow
@pytest.mark.usefixtures('cpp_compiler')
@pytest.mark.parametrize('block', [each for each in PROGRAMS if is_long(each)], ids=str)
def test_long_programs_run(block: Snippet, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkout)
    if 'digits.onnx' in block.code:
        run = Path('work_dirs/digits/run')
        (checkpoint,) = run.glob('*.pth')
        args = [str(run.parent / 'config.py'), str(checkpoint), '--out', 'digits.onnx', '--dynamic']
        assert export.main(predict_onnx, [*args, '--images', 'photos']) == 0
    if 'Inferencer(' in block.code:
        monkeypatch.setenv('DWNET_CHECKPOINT_DIR', str(checkout))
        for name in (CLASSIFIER, DETECTOR, SEGMENTOR):
            write_release(checkout, name)
    execute(block)
