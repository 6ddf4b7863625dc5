"""What the doctor tells about environments that are broken."""

import os
import shutil
import subprocess
import sys
from importlib.machinery import PathFinder
from pathlib import Path

import mmcv
import pytest
import torch

from mmdwnet import doctor
from mmdwnet.errors import UserError
from mmdwnet.mmcv_ext.missing import HOW_TO_COMPILE

from .hiding import OPENMMLAB, run_without

ROOT = Path(__file__).parents[1]
FILES = (
    *('data/imagenet/train/cat/1.jpg', 'data/imagenet/val/cat/1.jpg'),
    *(f'data/coco/annotations/instances_{kind}2017.json' for kind in ('train', 'val')),
    *(f'data/coco/{kind}2017/1.jpg' for kind in ('train', 'val')),
    *(
        f'data/ade/ADEChallengeData2016/{folder}/{kind}/1.png'
        for folder in ('images', 'annotations')
        for kind in ('training', 'validation')
    ),
)


def install(folder: Path, **versions: str) -> None:
    """Put distributions into a folder, as pip leaves them."""
    for name, version in versions.items():
        info = folder / f'{name}-{version}.dist-info'
        info.mkdir()
        (info / 'METADATA').write_text(
            f'Metadata-Version: 2.1\nName: {name.replace("_", "-")}\nVersion: {version}\n'
        )


def rows(printed: str) -> dict[str, str]:
    """What is told of each thing, by its name."""
    lines = printed.partition('\n\n')[0].splitlines()
    return {line[:14].strip(): line[15:] for line in lines}


def run(folder: Path) -> str:
    """What the command prints where the packages in a folder come first."""
    done = subprocess.run(
        [sys.executable, '-m', 'mmdwnet.doctor'],
        env=os.environ | {'PYTHONPATH': os.pathsep.join([str(folder), str(ROOT)])},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (1, '')
    return done.stdout


def test_an_old_torch(tmp_path: Path) -> None:
    install(tmp_path, torch='2.6.0+cpu')
    printed = run(tmp_path)
    assert rows(printed)['torch'] == '2.6.0+cpu FAILS, see 1'
    assert (
        '1. mmdwnet needs torch 2.9.1, and this is 2.6.0+cpu: '
        "pip install --upgrade 'torch>=2.9.1' 'torchvision>=0.24.1'\n"
    ) in printed
    assert 'not examined' in rows(printed)['mmengine']
    assert '\n2. ' not in printed


def test_a_torch_that_cannot_be_imported(tmp_path: Path) -> None:
    install(tmp_path, torch='2.99.0')
    broken = "raise OSError('libcudart.so.12: cannot open shared object file\\nmore')"
    (tmp_path / 'torch.py').write_text(broken)
    assert (
        '1. torch: OSError: libcudart.so.12: cannot open shared object file: pip install --upgrade'
    ) in run(tmp_path)


def test_two_families(tmp_path: Path) -> None:
    install(tmp_path, torch='2.6.0', mmcv_lite='2.1.0', onedl_mmcv='2.3.6')
    printed = run(tmp_path)
    assert rows(printed)['families'] == 'FAILS, see 2'
    assert '2.1.0 (mmcv-lite), 2.3.6 (onedl-mmcv)' in rows(printed)['mmcv']
    assert '2. mmcv-lite and onedl-mmcv are both installed here' in printed
    assert 'pip uninstall -y ' in printed


@pytest.mark.slow
def test_without_openmmlab_and_a_compiler() -> None:
    script = "import os; from mmdwnet.doctor import main; os.environ['PATH'] = ''; print(main())"
    printed = run_without(OPENMMLAB | {'timm'}, script)
    assert "mmengine: ModuleNotFoundError: No module named 'mmengine': pip install" in printed
    assert rows(printed)['torch'].endswith('ok')
    assert rows(printed)['timm'].startswith('not installed')
    assert 'torch.compile needs a C++ compiler on the CPU, and there is no g++: install' in printed
    assert printed.endswith('\n1\n')


def test_without_anything() -> None:
    printed = run_without(OPENMMLAB | {'torch'}, 'from mmdwnet.doctor import main; print(main())')
    assert "1. torch: ModuleNotFoundError: No module named 'torch': pip install" in printed
    assert printed.endswith('\n1\n')


def test_missing_data_and_no_compiler(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('PATH', str(tmp_path))
    monkeypatch.delenv('CXX', raising=False)
    assert doctor.main() == 1
    printed = capsys.readouterr().out
    told = rows(printed)
    assert told['torch.compile'] == 'FAILS, see 1'
    assert told['configs/det'] == 'data/coco/ FAILS, see 3'
    for found in (
        '1. torch.compile needs a C++ compiler on the CPU, and there is no g++: install it, or',
        '2. the train data are not there: data/imagenet does not exist; put data of',
        '3. the train data are not there: data/coco does not exist; put data of',
        '4. the train data are not there: data/ade/ADEChallengeData2016 does not exist; put',
    ):
        assert found in printed
    assert len(printed.partition('\n\n')[2].splitlines()) <= 6


def test_a_compiler_without_headers(monkeypatch) -> None:
    monkeypatch.setenv('CXX', 'false')
    with pytest.raises(UserError, match=r'as false does .* install the headers of Python'):
        doctor.try_compiler()


@pytest.mark.skipif(shutil.which('g++') is None, reason='without g++, something would fail')
def test_a_sound_environment(tmp_path, monkeypatch, capsys) -> None:
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    code, printed = doctor.main(), capsys.readouterr().out
    assert code == 0, printed
    assert '\nNothing would fail.\n' in printed
    told = rows(printed)
    for name in ('torch', *OPENMMLAB, 'configs/cls', 'configs/det', 'configs/seg'):
        assert told[name].endswith('ok')
    if PathFinder.find_spec('mmcv._ext', mmcv.__path__) is None:
        assert told['operators'] == 'those of mmdwnet.mmcv_ext'
        assert HOW_TO_COMPILE in printed
    gpus = torch.cuda.device_count()
    assert told['GPUs'].startswith(f'{gpus or "none"}; ')
    assert all(told[f'GPU {gpu}'].endswith('runs the Triton kernels') for gpu in range(gpus))
