"""What a wheel has in it, and that it works without the checkout it was built from."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ('MANIFEST.in', 'README.md', 'model-index.yml', 'pyproject.toml', 'setup.py')
FOLDERS = ('configs', 'mmdwnet', 'requirements', 'tools')


def run(script: str, folder: Path, *args: object, package: Path | None = None) -> str:
    """Standard output of a Python script run in `folder`; it must succeed."""
    search = [str(package or ''), os.environ.get('PYTHONPATH', '')]
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', script, *map(str, args)],
        cwd=folder,
        env=os.environ | {'PYTHONPATH': os.pathsep.join(filter(None, search))},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(kind: str, source: Path, target: Path) -> Path:
    """The sdist or wheel of a source tree, built as pip does."""
    script = f'import sys; from setuptools import build_meta; build_meta.build_{kind}(sys.argv[1])'
    run(script, source, target)
    (built,) = target.iterdir()
    return built


@pytest.fixture(scope='module')
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a wheel holds that was built from the sdist of a copy of the checkout."""
    folder = tmp_path_factory.mktemp('packaging')
    copy = folder / 'checkout'
    copy.mkdir()
    for name in SOURCES:
        shutil.copy(ROOT / name, copy)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, copy / name)
    sdist = build('sdist', copy, folder / 'sdist')
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter='data')
    # A file that a build left here and the sources no longer have.
    source = folder / sdist.name.removesuffix('.tar.gz')
    stale = source / 'build' / 'lib' / 'mmdwnet' / '.mim' / 'configs' / 'stale.py'
    stale.parent.mkdir(parents=True)
    stale.touch()
    wheel = build('wheel', source, folder / 'wheel')
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / 'installed')
    return folder / 'installed'


@pytest.mark.parametrize('folder', ['configs', 'tools'])
def test_wheel_carries(folder: str, installed: Path) -> None:
    def files(root: Path) -> dict[str, bytes]:
        return {
            str(path.relative_to(root)): path.read_bytes()
            for path in (root / folder).rglob('*')
            if path.is_file() and '__pycache__' not in path.parts
        }

    assert files(installed / 'mmdwnet' / '.mim') == files(ROOT)


def test_wheel_works_alone(installed: Path, tmp_path: Path) -> None:
    """From a folder outside the checkout, with mmpretrain imported and asked before."""
    output = run(
        """
import mmpretrain
assert not mmpretrain.list_models('*dwnet*')
import mmdwnet
print(mmdwnet.__file__)
assert 'dynamic_dwnet_base' in mmpretrain.list_models('*dwnet*')
model = mmpretrain.get_model('dwnet_tiny', pretrained=False)
assert isinstance(model.backbone, mmdwnet.DWNet)
for name in mmdwnet.list_models():
    print(mmdwnet.get_config(name).filename)
""",
        tmp_path,
        package=installed,
    )
    package, *configs = [line for line in output.splitlines() if line.startswith('/')]
    assert Path(package).is_relative_to(installed)
    tasks = [ROOT / 'configs' / task for task in ('cls', 'det', 'seg')]
    assert len(configs) == sum(len(list(task.glob('*.py'))) for task in tasks)
    assert all(Path(config).is_relative_to(installed) for config in configs)
