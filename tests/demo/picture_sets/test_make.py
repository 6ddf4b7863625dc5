import subprocess
import sys
from pathlib import Path

import pytest

from demo.picture_sets import PictureSetOptions, make_picture_sets
from mmdwnet.errors import UserError

TOOL = Path(__file__).parents[3] / 'tools/make_picture_sets.py'


def _files(root):
    return {path.relative_to(root): path.read_bytes() for path in root.rglob('*') if path.is_file()}


def test_the_command_makes_the_same_files_each_time(made, options, tmp_path):
    counts = [f'--clothes={options.clothes}', f'--scenes={options.scenes}']
    done = subprocess.run(
        [sys.executable, str(TOOL), str(tmp_path / 'again'), *counts, f'--share={options.share}'],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert '18 train scenes of 30 drawings' in done.stdout
    assert _files(tmp_path / 'again') == _files(made)


def test_packages_that_are_not_installed_are_named_in_one_sentence(tmp_path):
    share, out = tmp_path / 'share', tmp_path / 'out'
    (share / 'openclipart/png').mkdir(parents=True)
    with pytest.raises(UserError) as caught:
        make_picture_sets(out, PictureSetOptions(share=str(share)))
    assert str(caught.value) == (
        f'picture sets: there is no folder {share}/datasets/fashion-mnist; install the pictures '
        'with apt-get install dataset-fashion-mnist plasma-workspace-wallpapers'
    )
    assert not out.exists()


def test_a_wallpaper_that_is_missing_is_named_and_nothing_is_left(share, tmp_path):
    partly = tmp_path / 'share'
    (partly / 'wallpapers').mkdir(parents=True)
    for folder in ('datasets', 'openclipart'):
        (partly / folder).symlink_to(share / folder)
    options = PictureSetOptions(clothes=6, scenes=6, share=str(partly))
    with pytest.raises(UserError, match=r'wallpapers/\w+ has no readable .* --reinstall plasma'):
        make_picture_sets(tmp_path / 'out', options)
    assert [path.name for path in tmp_path.iterdir()] == ['share']


@pytest.mark.parametrize('name', ['clothes', 'scenes'])
def test_counts_without_validation_images_are_refused(name):
    with pytest.raises(UserError, match=f'{name} is 5; it must be at least 6'):
        PictureSetOptions(**{name: 5})
