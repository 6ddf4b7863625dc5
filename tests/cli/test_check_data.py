"""The command reads what a training would read, and tells what is wrong with it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mmdwnet.cli import check_data

from .odd_data import CONFIG, KINDS, make, names


@pytest.fixture
def check(tmp_path: Path, capsys: pytest.CaptureFixture) -> Callable[..., tuple[int, str, str]]:
    """Checks data at `tmp_path`; returns the exit code, stdout and stderr."""

    def run(task: str, *args: str, changes: tuple[str, ...] = ()) -> tuple[int, str, str]:
        roots = [
            f'{split}_dataloader.dataset.data_root={tmp_path}' for split in ('train', 'val', 'test')
        ]
        if task == 'det':
            roots.append(f'val_evaluator.ann_file={tmp_path}/annotations/instances_val2017.json')
            roots.append(f'test_evaluator.ann_file={tmp_path}/annotations/instances_val2017.json')
        capsys.readouterr()
        code = check_data.main([CONFIG[task], *args, '--cfg-options', *roots, *changes])
        return code, *capsys.readouterr()

    return run


@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize('task', KINDS)
def test_each_bad_sample_is_listed_and_no_good_one(check, tmp_path: Path, task: str, workers: int):
    files = make(tmp_path, task, KINDS[task])
    code, output, stderr = check(task, '--workers', str(workers), '--splits', 'train')
    assert code == 1, stderr
    lines = [line for line in output.splitlines() if line.startswith('  ')]
    for kind in KINDS[task]:
        found = [line for line in lines if names(line, kind)]
        if kind.fault is None:
            assert not found
        elif not kind.told:
            assert len(found) == 1, (kind, found)
            assert kind.fault in found[0]
            assert str(files['train'][kind.name]) in found[0] or 'annotations' in found[0]


@pytest.mark.parametrize(
    ('task', 'counts'),
    [
        ('cls', ['zero: 1 images', 'nine: 1 images']),
        ('det', ['zero: 1 images, 1 instances', 'nine: 1 images, 1 instances']),
        ('seg', ['ground: 10 images, 30720 pixels', 'zero: 0 images, 0 pixels']),
    ],
)
def test_sound_data_are_counted(check, tmp_path: Path, task: str, counts: list[str]):
    make(tmp_path, task, [])
    code, output, stderr = check(task)
    assert code == 0, stderr
    lines = [line.strip() for line in output.splitlines()]
    assert 'train: 10 samples, 0 problem(s)' in lines
    assert 'val: 10 samples, 0 problem(s)' in lines
    assert 'test: the same data as val' in lines
    assert all(lines.count(count) == 2 for count in counts)


def test_annotations_are_checked_without_their_images(check, tmp_path: Path):
    kinds = [kind for kind in KINDS['det'] if kind.told]
    make(tmp_path, 'det', kinds)
    code, output, _ = check('det', '--splits', 'train')
    assert code == 1
    assert kinds[0].fault in output


def test_data_that_are_not_there_are_bad_input(check, tmp_path: Path):
    code, _, stderr = check('cls')
    assert code == 2
    assert f'{tmp_path} holds no files' in stderr
    assert check('cls', '--workers', '-1')[0] == 2
    make(tmp_path, 'cls', [])
    assert check('cls', '--splits', 'val', changes=('val_dataloader=None',))[0] == 2


@pytest.mark.parametrize(
    ('content', 'fault'),
    [
        ('{"images": [', 'is not a JSON object'),
        ('[]', 'is not a JSON object'),
        ('[' * 100_000, 'is not a JSON object'),
        ('{"images": ' + '9' * 5000 + '}', 'is not a JSON object'),
        ('\ufffe', 'is not a JSON object'),
        ('{}', 'has no list of categories'),
        ('{"categories": {"id": 1}, "images": []}', 'has no list of categories'),
        ('{"categories": [1], "images": []}', 'entry 0 of its categories has no id'),
        ('{"categories": [{"id": 1, "name": 7}], "images": []}', 'has the name 7'),
        ('{"categories": [{"id": 1, "name": "one"}], "images": 7}', 'has no list of images'),
        ('{"categories": [], "images": [{"id": []}]}', 'entry 0 of its images has no id'),
        ('{"categories": [], "images": [{"id": 1, "file_name": 3}]}', 'has the file_name 3'),
        ('{"categories": [], "images": [], "annotations": [[]]}', 'annotations has no id'),
        ('{"categories": [], "images": [], "annotations": []}', 'has no image to train on'),
    ],
    ids=lambda text: text[:40],
)
def test_what_is_not_coco_is_refused_in_one_sentence(
    check, tmp_path: Path, content: str, fault: str
):
    make(tmp_path, 'det', [])
    path = tmp_path / 'annotations' / 'instances_train2017.json'
    path.write_text(content, encoding='utf-8')
    code, _, stderr = check('det', '--splits', 'train')
    assert code == 2
    assert 'Traceback' not in stderr
    sentence = stderr.strip().splitlines()[-1]
    assert str(path) in sentence
    assert fault in sentence
    assert len(sentence) < 500
