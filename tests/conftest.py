import gc
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import mmengine.config.config
import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer
from yapf.yapflib import yapf_api


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest tests: what one process begins last, it ends alone."""
    folders, files = ('tools', 'mmcv_ext', 'demo'), ('test_triton', 'test_compiling')
    items.sort(
        key=lambda item: item.path.parent.name not in folders and item.path.stem not in files
    )


def pytest_collection_finish() -> None:
    """Keep the collector from the modules: mmengine's data sets call it, and there are many."""
    gc.freeze()


@pytest.fixture(autouse=True, scope='session')
def _formatted_once() -> Iterator[None]:
    """Keep what yapf makes of a config: a Runner asks five times, which takes over a second."""
    format_code, kept = yapf_api.FormatCode, {}

    def format_once(text: str, **options: object) -> object:
        if text not in kept:
            kept[text] = format_code(text, **options)
        return kept[text]

    with pytest.MonkeyPatch.context() as patch:
        # Where one family of mmengine looks for it, and where the other does.
        patch.setattr(yapf_api, 'FormatCode', format_once)
        patch.setattr(mmengine.config.config, 'FormatCode', format_once, raising=False)
        yield


@pytest.fixture(scope='session')
def forget() -> Callable[[], None]:
    """Drops what mmengine keeps of a run, such as a logger on the stdout of that time.

    Runs of the same second have the same name, under which each class finds its instance again.
    """

    def drop() -> None:
        kept = [MMLogger, DefaultScope, Visualizer]
        while kept:
            kept += (one := kept.pop()).__subclasses__()
            one._instance_dict.clear()

    return drop


@pytest.fixture(autouse=True)
def _no_traces(forget: Callable[[], None]) -> Iterator[None]:
    forget()
    yield
    forget()


@pytest.fixture(scope='session')
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Few and small digit scenes; five scenes to test on, which two processes cannot share out."""
    # Only here, as it takes seconds.
    from demo.digit_scenes import DigitSceneOptions, make_digit_scenes

    options = DigitSceneOptions(
        cls_size=32,
        cls_every=10,
        cls_train_per_digit=1,
        cls_val_per_digit=1,
        scene_size=96,
        train_scenes=4,
        val_scenes=5,
        min_digit_size=30,
        max_digit_size=60,
    )
    return make_digit_scenes(tmp_path_factory.mktemp('data') / 'digits', options)


@pytest.fixture
def run_in_two_processes(tmp_path: Path) -> Callable[[str], None]:
    """Runs a script in two processes on the CPU, with `tmp_path` as its argument."""
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2']
    environment = {**os.environ, 'CUDA_VISIBLE_DEVICES': '', 'OMP_NUM_THREADS': '1'}
    environment['PYTHONPATH'] = str(Path(__file__).parents[1])

    def run(script: str) -> None:
        subprocess.run([*command, script, str(tmp_path)], env=environment, check=True)

    return run


@pytest.fixture
def compiler() -> Iterator[None]:
    """A torch.compile that has not seen other sizes, which it would take for dynamic now."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.fixture
def cpp_compiler(compiler: None) -> None:
    """The same where it makes programs for the CPU."""
    if shutil.which('g++') is None:
        pytest.skip('torch.compile needs g++')
