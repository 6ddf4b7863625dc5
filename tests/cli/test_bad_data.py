"""Bad data in training and testing: one sentence, or skipped and counted."""

import multiprocessing
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import TRANSFORMS

from mmdwnet.apis.building import build_model
from mmdwnet.cli import test, train

from .odd_data import ANNOTATIONS, CONFIG, IMAGES, KINDS, LABEL_MAPS, Kind, make

COMMANDS = {'train': train.main, 'test': test.main}
# Two passes over the data of two batches each, but one batch for the detector, which is slow.
# Images keep their size.
SMALL = {
    'cls': ['train_cfg.max_epochs=2', 'train_cfg.val_interval=2'],
    'det': [
        'model.backbone.init_cfg=None',
        'train_cfg.max_iters=1',
        'train_cfg.val_interval=1',
        'train_dataloader.batch_sampler=None',
        'model.train_cfg.rpn_proposal.max_per_img=8',
        'model.test_cfg.rpn.max_per_img=4',
        'train_dataloader.dataset.pipeline.2.scales=[(64,48)]',
        *(f'{split}_dataloader.dataset.pipeline.1.scale=(64,48)' for split in ('val', 'test')),
    ],
    'seg': [
        'model.backbone.init_cfg=None',
        'train_cfg.max_iters=4',
        'train_cfg.val_interval=4',
        'train_dataloader.dataset.pipeline.2.scale=(64,48)',
        'train_dataloader.dataset.pipeline.3.crop_size=(64,64)',
        'model.data_preprocessor.size=(64,64)',
        # mmsegmentation 1.2.2 cannot combine class weights with ignored pixels.
        'model.decode_head.loss_decode.class_weight=None',
        'model.auxiliary_head.loss_decode.class_weight=None',
        *(f'{split}_dataloader.dataset.pipeline.1.scale=(64,48)' for split in ('val', 'test')),
    ],
}
ADVICE = "it, or set bad_data='skip' in the config"


@TRANSFORMS.register_module(force=True)
class Divides:
    def __init__(self, **_: object) -> None:
        pass

    def __call__(self, results: dict) -> dict:
        return {'inputs': 1 / 0}


@pytest.fixture
def run(
    tmp_path: Path, forget: Callable[[], None], capsys: pytest.CaptureFixture
) -> Callable[..., tuple[int, str, str]]:
    """Runs a command on data at `tmp_path`; returns the exit code, stderr and the log."""

    def run(command: str, task: str, *args: str, workers: int = 0, changes: tuple[str, ...] = ()):
        forget()
        torch.manual_seed(0)
        options = [*SMALL[task]]
        for split in ('train', 'val', 'test'):
            options.append(f'{split}_dataloader.dataset.data_root={tmp_path}')
            options.append(f'{split}_dataloader.num_workers={workers}')
            options.append(f'{split}_dataloader.persistent_workers={workers > 0}')
        if task == 'det':
            annotations = tmp_path / 'annotations' / 'instances_val2017.json'
            options += [f'{split}_evaluator.ann_file={annotations}' for split in ('val', 'test')]
        work_dir = tmp_path / 'runs' / command  # runs of the same second would share a log
        capsys.readouterr()
        code = COMMANDS[command](
            [CONFIG[task], *args, '--work-dir', str(work_dir), '--cfg-options', *options, *changes]
        )
        logs = sorted(work_dir.glob('*/*.log'))
        return code, capsys.readouterr().err, logs[-1].read_text() if logs else ''

    return run


def warnings(log: str, what: str) -> list[str]:
    return [line for line in log.splitlines() if 'WARNING' in line and what in line]


@pytest.mark.parametrize(
    ('task', 'workers'),
    [
        ('cls', 2),
        ('seg', 0),
        *(
            pytest.param(*p, marks=pytest.mark.slow)
            for p in (('cls', 0), ('seg', 2), ('det', 0), ('det', 2))
        ),
    ],
)
def test_all_kinds_together_are_skipped_and_counted(run, tmp_path: Path, task: str, workers: int):
    kinds = KINDS[task]
    make(tmp_path, task, kinds)
    bad = sum(kind.fault is not None and not kind.told for kind in kinds)
    samples = 10 + len(kinds)
    trained = samples - (task == 'det')  # mmdet drops the image that has no box
    batch = trained if task == 'det' else trained // 2
    changes = ('bad_data=skip', f'train_dataloader.batch_size={batch}')
    code, stderr, log = run('train', task, workers=workers, changes=changes)
    assert code == 0, stderr
    told = warnings(log, f'{bad} of {trained} samples were bad and replaced by others')
    assert len(told) == (1 if task == 'det' else 2), warnings(log, 'replaced')
    assert len(warnings(log, f'{bad} of {samples} samples are left out of the scores')) == 1
    code, stderr, log = run('test', task, str(newest(tmp_path)), workers=workers, changes=changes)
    assert code == 0, stderr
    assert len(warnings(log, f'{bad} of {samples} samples are left out of the scores')) == 1


def test_the_same_is_told_after_each_epoch(run, tmp_path: Path):
    make(tmp_path, 'cls', [kind for kind in IMAGES if kind.name == 'empty'])
    code, stderr, log = run('train', 'cls', changes=('bad_data=skip', 'train_cfg.val_interval=1'))
    assert code == 0, stderr
    assert len(warnings(log, '1 of 11 samples were bad and replaced by others')) == 2
    assert len(warnings(log, '1 of 11 samples are left out of the scores')) == 2


@pytest.mark.parametrize('command', COMMANDS)
def test_what_is_not_coco_is_refused_in_one_sentence(
    run, checkpoints, tmp_path: Path, command: str
):
    make(tmp_path, 'det', [])
    for path in (tmp_path / 'annotations').iterdir():
        path.write_text('{"images": [')
    code, stderr, _ = run(command, 'det', *([checkpoints('det')] if command == 'test' else []))
    assert code == 2
    assert 'Traceback' not in stderr
    assert 'is not a JSON object' in stderr.strip().splitlines()[-1]


def test_what_mmdet_leaves_out_is_counted(run, tmp_path: Path):
    make(tmp_path, 'det', [kind for kind in ANNOTATIONS if kind.fault is None], good=2)
    code, stderr, log = run('train', 'det')
    assert code == 0, stderr
    told = [line for line in log.splitlines() if 'boxes that mmdet leaves out' in line]
    assert len(told) == 2  # of training and validation
    assert all('1 outside of the image, 1 of less than a pixel' in line for line in told)


def test_a_fault_in_the_program_keeps_its_traceback(run, tmp_path: Path):
    make(tmp_path, 'cls', [])
    changes = ('train_dataloader.dataset.pipeline.1.type=Divides',)
    with pytest.raises(ZeroDivisionError):
        run('train', 'cls', changes=changes)


def test_the_choice_is_stop_or_skip(run, tmp_path: Path):
    make(tmp_path, 'cls', [])
    code, stderr, _ = run('train', 'cls', changes=('bad_data=ignore',))
    assert code == 2
    assert "bad_data='ignore': give one of ('stop', 'skip')" in stderr


@pytest.mark.parametrize('command', COMMANDS)
def test_a_set_of_nothing_but_bad_samples_ends_the_run(
    run, checkpoints, tmp_path: Path, command: str
):
    make(tmp_path, 'cls', [])
    for file in tmp_path.rglob('*.jpg'):
        file.write_bytes(b'')
    args = [checkpoints('cls')] if command == 'test' else []
    no_validation = [f'{key}=None' for key in ('val_cfg', 'val_dataloader', 'val_evaluator')]
    code, stderr, _ = run(command, 'cls', *args, changes=('bad_data=skip', *no_validation))
    assert code == 2
    assert 'Traceback' not in stderr
    sentence = stderr.strip().splitlines()[-1]
    assert 'is empty' in sentence
    assert ('99 others in a row' if command == 'train' else 'all 10 samples are bad') in sentence


@pytest.mark.parametrize('task', ['cls', 'seg'])
def test_listed_files_that_are_missing_are_bad_samples(run, tmp_path: Path, task: str):
    if task == 'cls':
        make(tmp_path, task, [])
        files = [
            f'{path.parent.name}/{path.name} {path.parent.name}'
            for path in (tmp_path / 'train').rglob('*.jpg')
        ]
        listed = '\n'.join([*files, '3/lost.jpg 3', '4/good 4.jpg 10'])
    else:
        make(tmp_path, task, [])
        listed = '\n'.join(
            [*(path.stem for path in (tmp_path / 'images' / 'training').iterdir()), 'lost']
        )
    (tmp_path / 'list.txt').write_text(listed)
    changes = (
        'bad_data=skip',
        'train_dataloader.dataset.ann_file=list.txt',
        'train_dataloader.batch_size=11',
    )
    code, stderr, log = run('train', task, changes=changes)
    assert code == 0, stderr
    told = '; '.join(warnings(log, 'replaced'))
    assert 'lost.jpg does not exist' in told
    assert ('has the label 10, but there are 10 classes' in told) == (task == 'cls')


def newest(tmp_path: Path) -> Path:
    work_dir = tmp_path / 'runs' / 'train'
    return work_dir / (work_dir / 'last_checkpoint').read_text()


@pytest.mark.parametrize('task', ['cls', 'seg'])
def test_no_worker_outlives_the_training(run, tmp_path: Path, task: str):
    make(tmp_path, task, [])
    assert run('train', task, workers=2)[0] == 0
    assert multiprocessing.active_children() == []


@pytest.fixture(scope='module')
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Returns a checkpoint of the demo's model of a task, untrained."""
    folder = tmp_path_factory.mktemp('checkpoints')

    def get(task: str) -> str:
        path = folder / f'{task}.pth'
        if not path.exists():
            model = build_model(Config.fromfile(CONFIG[task]))
            torch.save(dict(state_dict=model.state_dict(), meta={}), path)
        return str(path)

    return get


# What is wrong with images is found in the same way for each task.
ALONE = {'cls': IMAGES, 'det': ANNOTATIONS, 'seg': LABEL_MAPS}


@pytest.mark.parametrize(
    ('task', 'kind'),
    [
        pytest.param(
            task,
            kind,
            id=f'{task}-{kind.name}',
            marks=[pytest.mark.slow] if task != 'cls' and number % 8 else [],
        )
        for task, kinds in ALONE.items()
        for number, kind in enumerate(kind for kind in kinds if kind.fault is not None)
    ],
)
@pytest.mark.parametrize('command', COMMANDS)
def test_a_bad_sample_ends_a_run_in_one_sentence(
    run, checkpoints, tmp_path: Path, command: str, task: str, kind: Kind
):
    file = make(tmp_path, task, [kind])['train' if command == 'train' else 'val'][kind.name]
    args = [checkpoints(task)] if command == 'test' else []
    changes = [f'{split}_dataloader.batch_size=11' for split in ('train', 'test')]
    if task == 'det':
        changes.append('train_dataloader.batch_sampler=None')
    code, stderr, _ = run(command, task, *args, changes=tuple(changes))
    assert code == 2
    assert 'Traceback' not in stderr, stderr
    sentence = stderr.strip().splitlines()[-1]
    assert str(file) in sentence or f'image {file.name}' in sentence or kind.told
    assert kind.fault in sentence
    assert sentence.endswith(ADVICE)
