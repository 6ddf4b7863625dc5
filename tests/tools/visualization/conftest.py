from collections.abc import Callable
from pathlib import Path

import pytest

from ...apis.folders import make_images, make_work_dir


@pytest.fixture
def trained(tmp_path: Path) -> Callable[..., list[str]]:
    """Makes an untrained model; returns the paths of its config and checkpoint."""

    def make(task: str = 'classify', mixer: str = 'static') -> list[str]:
        changes = {'model.backbone.mixer': mixer}
        folder = make_work_dir(tmp_path, task, constant=False, **changes)
        return [str(folder / 'config.py'), str(folder / 'best_score_epoch_2.pth')]

    return make


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with four images of noise in three sizes."""
    return make_images(tmp_path)


@pytest.fixture
def refusal(tmp_path: Path, capsys: pytest.CaptureFixture) -> Callable[..., str]:
    """Runs a command that is to refuse its input; returns the one sentence that it says."""

    def run(main: Callable[[list[str]], int], *args: object) -> str:
        before = sorted(tmp_path.rglob('*'))
        capsys.readouterr()
        assert main([*map(str, args)]) == 2
        assert sorted(tmp_path.rglob('*')) == before
        told = capsys.readouterr().err
        assert 'Traceback' not in told, told
        return told.strip().splitlines()[-1]

    return run
