"""What a wheel has in it, that it works without its checkout, and what installing it changes."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

from .apis.folders import CONFIGS, make_images, make_work_dir

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


def copy_checkout(target: Path) -> Path:
    """A copy of what a package is built from, as a build leaves files beside its sources."""
    target.mkdir()
    for name in SOURCES:
        shutil.copy(ROOT / name, target)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, target / name)
    return target


@pytest.fixture(scope='module')
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a wheel holds that was built from the sdist of a copy of the checkout."""
    folder = tmp_path_factory.mktemp('packaging')
    sdist = build('sdist', copy_checkout(folder / 'checkout'), folder / 'sdist')
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


def test_wheel_carries_all_files_of_the_package(installed: Path) -> None:
    def files(package: Path) -> set[Path]:
        found = {path.relative_to(package) for path in package.rglob('*') if path.is_file()}
        return {path for path in found if not {'.mim', '__pycache__'} & set(path.parts)}

    assert files(installed / 'mmdwnet') == files(ROOT / 'mmdwnet')


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


@pytest.mark.slow
def test_trained_models_predict_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    for task in CONFIGS:
        make_work_dir(tmp_path, task)
    make_images(tmp_path)
    tool = installed / 'mmdwnet' / '.mim' / 'tools' / 'predict.py'
    output = run(
        """
import runpy
import sys
import mmdwnet
print(mmdwnet.__file__)
for task in ('classify', 'detect', 'segment'):
    (result,) = mmdwnet.load(task)('images/a.png')
    print(result)
    result.save(f'drawn/{task}.png')
sys.argv[2:] = ['classify', 'images', '--out', 'out']
runpy.run_path(sys.argv.pop(1), run_name='__main__')
""",
        tmp_path,
        tool,
        package=installed,
    )
    package, *lines = [line for line in output.splitlines() if line.startswith(('/', 'images'))]
    assert Path(package).is_relative_to(installed)
    assert lines[:3] == [f'images/a.png: {said}' for said in ('three 1.00', '1 four', 'one 100%')]
    assert lines[3:] == [
        f'images/{name}: three 1.00' for name in ('a.png', 'b.png', 'c.BMP', 'more of them/é.png')
    ]
    assert len(list(tmp_path.glob('drawn/*.png'))) == 3
    assert len([path for path in tmp_path.glob('out/**/*') if path.is_file()]) == 4


def test_plain_package_requires_no_openmmlab(installed: Path) -> None:
    (info,) = installed.glob('*.dist-info')
    required = PathDistribution(info).requires
    plain = {re.split('[<>=]', line)[0] for line in required if 'extra ==' not in line}
    assert plain == {'filelock', 'numpy', 'safetensors', 'torch', 'torchvision'}
    extra = {line.split(';')[0] for line in required if line.endswith('extra == "openmmlab"')}
    assert extra == {f'onedl-{name}' for name in FORKS}


FORKS = {
    'mmcv': 'mmcv',
    'mmdetection': 'mmdet',
    'mmengine': 'mmengine',
    'mmpretrain': 'mmpretrain',
    'mmsegmentation': 'mmseg',
}
ORIGINALS = {
    'mmcv-lite': 'mmcv',
    'mmdet': 'mmdet',
    'mmengine': 'mmengine',
    'mmpretrain': 'mmpretrain',
    'mmsegmentation': 'mmseg',
}


def make_wheel(folder: Path, name: str, package: str) -> Path:
    """A wheel with one package of one file, which names the distribution it is from."""
    info = f'{name.replace("-", "_")}-1.0.dist-info'
    path = folder / f'{name.replace("-", "_")}-1.0-py3-none-any.whl'
    with zipfile.ZipFile(path, 'w') as wheel:
        wheel.writestr(f'{package}/__init__.py', f'FROM = {name!r}\n')
        wheel.writestr(f'{info}/METADATA', f'Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n')
        wheel.writestr(f'{info}/WHEEL', 'Wheel-Version: 1.0\nTag: py3-none-any\n')
        wheel.writestr(f'{info}/RECORD', '')
    return path


@pytest.fixture
def originals(tmp_path: Path) -> Path:
    """Site-packages of an environment with torch, pip and OpenMMLab's original packages.

    OpenMMLab's are stand-ins, so that either family can be tried wherever the tests run; the rest
    are links to those of the environment that the tests run in.
    """
    venv.create(tmp_path / 'env', symlinks=True)
    (site,) = tmp_path.glob('env/lib/python*/site-packages')
    for entry in Path(sysconfig.get_path('purelib')).iterdir():
        if not entry.name.startswith(('mm', 'onedl', '__editable__')):
            (site / entry.name).symlink_to(entry)
    for name, package in ORIGINALS.items():
        with zipfile.ZipFile(make_wheel(tmp_path, name, package)) as wheel:
            wheel.extractall(site)
    return site


def test_installing_changes_no_original_package(originals: Path, tmp_path: Path) -> None:
    def files() -> dict[str, bytes]:
        mine = [path for path in originals.glob('mm*/**/*') if path.is_file()]
        return {str(path): path.read_bytes() for path in mine if 'mmdwnet' not in str(path)}

    forks = tmp_path / 'forks'
    forks.mkdir()
    for name, package in FORKS.items():  # what pip would find to put over the originals
        make_wheel(forks, f'onedl-{name}', package)
    before, entries = files(), set(os.listdir(originals))
    assert len(before) == 4 * len(ORIGINALS)
    pip = [tmp_path / 'env/bin/python', '-m', 'pip', 'install', '--no-index', '--find-links', forks]
    done = subprocess.run(
        [*pip, '--no-build-isolation', copy_checkout(tmp_path / 'checkout')],
        env={key: value for key, value in os.environ.items() if key != 'PYTHONPATH'},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert files() == before
    new = set(os.listdir(originals)) - entries
    assert {name.split('-')[0] for name in new} == {'mmdwnet'}
