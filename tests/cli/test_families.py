"""Environments with OpenMMLab's packages of more than one family."""

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest

from mmdwnet.cli.command import run_command
from mmdwnet.cli.families import check_families
from mmdwnet.errors import UserError


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put distributions into a folder of an environment that has no others."""
    path: list[str] = []
    monkeypatch.setattr('sys.path', path)

    def put(folder: str, *names: str) -> None:
        path.insert(0, str(tmp_path / folder))
        for name in names:
            info = tmp_path / folder / f'{name.replace("-", "_")}-1.0.dist-info'
            info.mkdir(parents=True)
            (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n')

    return put


@pytest.mark.parametrize(
    ('names', 'package'),
    [
        (('mmengine', 'onedl-mmengine'), 'mmengine'),
        (('mmcv-lite', 'mmengine', 'onedl-mmcv'), 'mmcv'),
        (('mmdet', 'onedl-mmdetection', 'onedl-mmengine'), 'mmdet'),
        (('mmpretrain', 'onedl-mmpretrain'), 'mmpretrain'),
        (('mmsegmentation', 'onedl-mmsegmentation'), 'mmseg'),
        (('mmcv', 'mmcv-lite', 'mmengine'), 'mmcv'),
    ],
)
def test_two_distributions_of_one_package_are_refused(install, names: tuple, package: str) -> None:
    install('site-packages', *names)
    with pytest.raises(UserError, match=f'files of the other in the package {package}:') as told:
        check_families()
    (command,) = [part for part in str(told.value).split('"') if part.startswith('pip uninstall')]
    assert sorted(command.split()[3:]) == sorted(names)


@pytest.mark.parametrize(
    'names',
    [
        (),
        ('mmengine', 'mmcv-lite', 'mmdet', 'mmpretrain', 'mmsegmentation'),
        ('onedl-mmengine', 'onedl-mmcv', 'onedl-mmdetection'),
        ('onedl-mmengine', 'mmcv', 'onedl-mmpretrain'),  # an mmcv compiled from sources
    ],
)
def test_one_distribution_of_each_package_is_enough(install, names: tuple) -> None:
    install('site-packages', *names)
    check_families()


def test_families_in_different_folders_keep_their_files(install) -> None:
    install('site-packages', 'onedl-mmengine', 'onedl-mmcv')
    install('originals', 'mmengine', 'mmcv-lite')
    check_families()


def test_commands_tell_before_they_do_anything(install, capsys: pytest.CaptureFixture) -> None:
    install('site-packages', 'mmengine', 'onedl-mmengine')
    done: list[Namespace] = []
    assert run_command(done.append, Namespace(traceback=False)) == 2
    assert not done
    told = capsys.readouterr().err
    assert 'mmengine and onedl-mmengine are both installed' in told
    assert told.count('\n') == 1


def test_this_environment_is_of_one_family() -> None:
    check_families()
