import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from demo.digit_scenes import DigitSceneOptions, make_digit_scenes
from mmdwnet.errors import UserError

REPO = Path(__file__).parents[3]


@pytest.fixture
def few():
    return DigitSceneOptions(
        cls_size=16,
        cls_every=10,
        cls_train_per_digit=1,
        cls_val_per_digit=1,
        train_scenes=2,
        val_scenes=2,
    )


def _digests(root):
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob('*')
        if path.is_file()
    }


def test_the_same_options_give_the_same_bytes_and_another_seed_others(made, options, tmp_path):
    again = make_digit_scenes(tmp_path / 'again', options)
    assert _digests(again) == _digests(made)
    other = make_digit_scenes(tmp_path / 'other', replace(options, seed=1))
    first = 'coco/train2017/000000000001.jpg'
    assert _digests(other)[first] != _digests(made)[first]


def test_a_set_with_the_same_options_is_reused(made, options):
    before = {path: path.stat().st_mtime_ns for path in made.rglob('*')}
    lines = []
    assert make_digit_scenes(made, options, log=lines.append) == made
    assert lines == [f'digit scenes: {made} is there already; reused']
    assert before == {path: path.stat().st_mtime_ns for path in made.rglob('*')}


def test_a_set_of_other_options_is_refused_unless_forced(few, tmp_path):
    root = make_digit_scenes(tmp_path / 'digits', few)
    more = replace(few, val_scenes=3)
    with pytest.raises(UserError, match=r'val_scenes 2 there, 3 asked\); choose .* --force'):
        make_digit_scenes(root, more)
    assert len(list((root / 'coco/val2017').iterdir())) == 2
    make_digit_scenes(root, more, force=True)
    assert len(list((root / 'coco/val2017').iterdir())) == 3


def test_a_folder_with_something_else_is_never_replaced(few, tmp_path):
    (tmp_path / 'photo.jpg').write_bytes(b'mine')
    with pytest.raises(UserError, match='was not made by this command'):
        make_digit_scenes(tmp_path, few, force=True)
    with pytest.raises(UserError, match='was not made by this command'):
        make_digit_scenes(tmp_path / 'photo.jpg', few, force=True)
    assert (tmp_path / 'photo.jpg').read_bytes() == b'mine'


def test_an_empty_folder_is_filled(few, tmp_path):
    root = make_digit_scenes(tmp_path, few)
    assert json.loads((root / 'digit_scenes.json').read_text())['train_scenes'] == 2


def test_an_interrupted_run_leaves_nothing_and_the_next_one_is_whole(few, tmp_path):
    def interrupt(line):
        raise KeyboardInterrupt

    root = tmp_path / 'parent' / 'digits'
    with pytest.raises(KeyboardInterrupt):
        make_digit_scenes(root, few, log=interrupt)
    assert list(root.parent.iterdir()) == []
    # A killed run cannot tidy up after itself: what it leaves is not mixed into the next set.
    (root.parent / '.digits.partial' / 'coco' / 'train2017').mkdir(parents=True)
    (root.parent / '.digits.partial' / 'coco' / 'train2017' / 'old.jpg').touch()
    make_digit_scenes(root, few)
    assert [path.name for path in root.parent.iterdir()] == ['digits']
    assert not (root / 'coco/train2017/old.jpg').exists()


def _run(*args, cwd=None):
    path = os.pathsep.join([str(REPO), os.environ.get('PYTHONPATH', '')])
    return subprocess.run(
        [sys.executable, str(REPO / 'tools/make_digit_scenes.py'), *map(str, args)],
        capture_output=True,
        text=True,
        env={**os.environ, 'PYTHONPATH': path},
        cwd=cwd,
        check=False,
    )


def test_the_command_makes_a_set_in_the_current_folder(tmp_path):
    counts = ['--cls-every=10', '--cls-train-per-digit=1', '--cls-val-per-digit=1']
    counts += ['--cls-size=16', '--train-scenes=2', '--val-scenes=1']
    done = _run('digits', *counts, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert '2 train scenes' in done.stdout
    assert len(list((tmp_path / 'digits/coco/train2017').iterdir())) == 2


def test_the_command_refuses_a_place_it_cannot_write_in_one_sentence(tmp_path):
    (tmp_path / 'file').touch()
    done = _run(tmp_path / 'file' / 'digits')
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f'digit scenes: cannot write {tmp_path}/file/digits (')
    assert lines[0].endswith('choose a folder that can be written')
