"""A command builds its model once, reads each checkpoint once, and runs what it checked."""

from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseDataPreprocessor
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from mmpretrain.models import ImageClassifier

from mmdwnet import DWNet
from mmdwnet.checkpoints import loading
from mmdwnet.cli import train
from mmdwnet.cli.preflight import check_last_batch
from mmdwnet.errors import UserError

from .conftest import CONFIG


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counter:
    """How often the model is built and each file read, by the command or by anyone else."""
    counts: Counter = Counter()
    build, read, load = ImageClassifier.__init__, loading.read_own, torch.load
    reading = []

    def counted_build(self, *args, **kwargs):
        counts['built'] += 1
        build(self, *args, **kwargs)

    def counted_read(path, *args):
        counts[Path(path).name] += 1
        reading.append(path)
        try:
            return read(path, *args)
        finally:
            reading.pop()

    def counted_load(*args, **kwargs):
        if not reading:
            counts['read by others'] += 1
        return load(*args, **kwargs)

    monkeypatch.setattr(ImageClassifier, '__init__', counted_build)
    monkeypatch.setattr(loading, 'read_own', counted_read)
    monkeypatch.setattr(torch, 'load', counted_load)
    return counts


@pytest.fixture
def trained(command, tmp_path: Path) -> Path:
    """The demo's classifier, trained for an epoch on ten pictures."""
    assert command('train', CONFIG, '--work-dir', str(tmp_path / 'before'))[0] == 0
    return tmp_path / 'before' / 'epoch_1.pth'


def test_training_builds_and_reads_once(command, trained: Path, counts: Counter):
    options = ('--resume', str(trained))
    assert command('train', CONFIG, *options, changes=('train_cfg.max_epochs=2',))[0] == 0
    assert counts == {'built': 1, 'epoch_1.pth': 1}
    counts.clear()
    pretrained = (
        f'load_from={trained}',
        'model.backbone.init_cfg.type=Pretrained',
        f'model.backbone.init_cfg.checkpoint={trained}',
        'model.backbone.init_cfg.prefix=backbone.',
    )
    assert command('train', CONFIG, changes=pretrained)[0] == 0
    assert counts == {'built': 1, 'epoch_1.pth': 1}


@pytest.mark.parametrize('flags', [(), ('--fuse',), ('--tta',)])
def test_testing_builds_and_reads_once(command, trained: Path, counts: Counter, flags):
    config = trained.with_name('tta.py')
    transforms = "[[dict(type='RandomFlip', prob=1.0)], [dict(type='PackInputs')]]"
    config.write_text(
        f'_base_ = {CONFIG!r}\n'
        "tta_model = dict(type='AverageClsScoreTTA')\n"
        "tta_pipeline = [dict(type='LoadImageFromFile'), "
        f"dict(type='TestTimeAug', transforms={transforms})]\n"
    )
    assert command('test', str(config), str(trained), *flags)[0] == 0
    assert counts == {'built': 1, 'epoch_1.pth': 1}


def test_a_check_builds_and_reads_once(command, trained: Path, counts: Counter):
    assert command('test', CONFIG, str(trained), '--check')[0] == 0
    assert counts == {'built': 1, 'epoch_1.pth': 1}


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=False)['state_dict']


@pytest.fixture
def upstream(
    options: list[str], tmp_path: Path, forget: Callable[[], None]
) -> Callable[..., dict[str, torch.Tensor]]:
    """Trains as OpenMMLab's own tools do, by a Runner that builds its model; returns weights."""

    def run(*changes: str) -> dict[str, torch.Tensor]:
        forget()
        args = train.parse_args([CONFIG, '--cfg-options', *options, *changes])
        args.work_dir = str(tmp_path / 'upstream')
        Runner.from_cfg(train.training_config(args)).train()
        return weights(tmp_path / 'upstream' / 'epoch_1.pth')

    return run


def test_a_seed_gives_the_weights_that_it_gives_upstream(command, upstream, tmp_path: Path):
    changes = ('model.backbone.drop_path_rate=0.3', 'randomness.seed=3')
    expected = upstream(*changes)
    for name in ('one', 'two'):
        assert command('train', CONFIG, '--work-dir', str(tmp_path / name), changes=changes)[0] == 0
        found = weights(tmp_path / name / 'epoch_1.pth')
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_a_drawn_seed_is_the_one_that_is_logged(command, tmp_path: Path):
    logged = []
    for name, change in (('drawn', 'randomness.seed=None'), ('given', None)):
        change = change or f'randomness.seed={logged[0]}'
        options = ('--work-dir', str(tmp_path / name))
        assert command('train', CONFIG, *options, changes=(change,))[0] == 0
        (log,) = (tmp_path / name).rglob('*.log')
        (line,) = (line for line in log.read_text().splitlines() if line.strip()[:5] == 'seed:')
        logged.append(int(line.split()[-1]))
    assert logged[0] == logged[1]
    drawn, given = (weights(tmp_path / name / 'epoch_1.pth') for name in ('drawn', 'given'))
    assert all(torch.equal(drawn[key], given[key]) for key in drawn)


class OwnRunner(Runner):
    """Says that it runs."""

    def train(self) -> torch.nn.Module:
        self.logger.info(f'OwnRunner trains with {type(self.model).__name__}')
        return super().train()


@pytest.mark.parametrize('by_name', [True, False])
def test_a_runner_of_the_configs_own_is_used(command, tmp_path: Path, by_name, counts: Counter):
    config = tmp_path / 'own.py'
    if by_name:
        RUNNERS.register_module(module=OwnRunner, force=True)
        config.write_text(f"_base_ = {CONFIG!r}\nrunner_type = 'OwnRunner'\n")
    else:
        Config.fromfile(CONFIG).dump(tmp_path / 'base.py')
        config.write_text(
            'from mmengine.config import read_base\n\nwith read_base():\n    from .base import *\n'
            f'from {__name__} import OwnRunner\nrunner_type = OwnRunner\n'
        )
    assert command('train', str(config))[0] == 0
    (log,) = (tmp_path / 'work').rglob('*.log')
    assert 'OwnRunner trains with ImageClassifier' in log.read_text()
    assert counts['built'] == 1


def test_the_config_is_written_as_it_was(command, config, tmp_path: Path):
    assert command('train', config)[0] == 0
    written = Config.fromfile(tmp_path / 'work' / 'dwnet_nano_digits.py')
    assert written.model == Config.fromfile(config).model
    assert 'custom_hooks' not in written
    assert written.randomness == dict(seed=0)


@pytest.mark.parametrize(
    ('sampler', 'iterations', 'refused'),
    [
        ('DefaultSampler', 4, True),
        ('DefaultSampler', 3, False),  # which never come to the last batch
        ('InfiniteSampler', 4, False),  # which has none
    ],
)
def test_a_last_batch_that_is_never_used_is_not_refused(
    tmp_path: Path, sampler, iterations, refused
):
    model = DWNet('nano', 'dynamic')
    runner = Runner(
        BaseDataPreprocessor(),
        work_dir=str(tmp_path),
        train_dataloader=dict(
            dataset=[dict(inputs=i) for i in range(10)], sampler=dict(type=sampler), batch_size=3
        ),
        train_cfg=dict(by_epoch=False, max_iters=iterations),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        experiment_name=f'{sampler}_{iterations}',
    )
    with pytest.raises(UserError, match='drop_last') if refused else nullcontext():
        check_last_batch(runner, model)
