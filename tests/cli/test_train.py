from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS
from mmpretrain.models import LinearClsHead

from mmdwnet.cli.train import parse_args, training_config
from mmdwnet.errors import UserError


def logs(work_dir: Path) -> str:
    return ''.join(path.read_text() for path in sorted(work_dir.rglob('*.log')))


def test_training_resumes_where_it_ended(command, config, tmp_path: Path):
    work_dir = tmp_path / 'work'
    assert command('train', config)[0] == 0
    first = torch.load(work_dir / 'epoch_1.pth', weights_only=False)
    assert 'accuracy/top1' in logs(work_dir)

    assert command('train', config, '--resume', changes=('train_cfg.max_epochs=2',))[0] == 0
    second = torch.load(work_dir / 'epoch_2.pth', weights_only=False)
    assert (first['meta']['iter'], second['meta']['iter']) == (2, 4)
    assert 'resumed epoch: 1, iter: 2' in logs(work_dir)
    assert not (
        work_dir / 'epoch_1.pth'
    ).exists()  # the demo keeps one: the first epoch is not redone


def test_named_checkpoint_is_resumed(command, config, tmp_path: Path):
    command('train', config)
    checkpoint = str(tmp_path / 'work' / 'epoch_1.pth')
    elsewhere = ('--resume', checkpoint, '--work-dir', str(tmp_path / 'elsewhere'))
    assert command('train', config, *elsewhere, changes=('train_cfg.max_epochs=2',))[0] == 0
    assert (tmp_path / 'elsewhere' / 'epoch_2.pth').exists()


def test_resuming_nothing_starts_as_the_config_says(command, refusal, config, tmp_path: Path):
    said = refusal('train', config, '--resume', changes=('load_from=no.pth',))
    assert said.startswith('no checkpoint at no.pth')

    assert command('train', config)[0] == 0
    start = tmp_path / 'work' / 'epoch_1.pth'
    elsewhere = ('--resume', '--work-dir', str(tmp_path / 'elsewhere'))
    assert command('train', config, *elsewhere, changes=(f'load_from={start}',))[0] == 0
    assert f'Load checkpoint from {start}' in logs(tmp_path / 'elsewhere')
    assert 'resumed' not in logs(tmp_path / 'elsewhere')


def test_weights_of_a_training_with_other_batches_and_schedules_are_started_from(
    command, config, tmp_path: Path
):
    assert command('train', config)[0] == 0
    start = tmp_path / 'work' / 'epoch_1.pth'
    changes = (f'load_from={start}', 'train_dataloader.batch_size=2', 'param_scheduler=None')
    elsewhere = ('--work-dir', str(tmp_path / 'elsewhere'))
    assert command('train', config, *elsewhere, changes=changes)[0] == 0
    assert 'the checkpoint is from' not in logs(tmp_path / 'elsewhere')  # nothing is resumed


def test_work_dir_is_named_after_the_config(config):
    assert training_config(parse_args([config])).work_dir == 'work_dirs/dwnet_nano_digits'


def test_check_writes_nothing(command, config, tmp_path: Path):
    before = sorted(tmp_path.rglob('*'))
    assert command('train', config, '--check') == (0, '')
    assert sorted(tmp_path.rglob('*')) == before


def test_learning_rate_scales_with_the_batch(command, refusal, config, tmp_path: Path):
    assert 'add auto_scale_lr=dict(base_batch_size=...)' in refusal(
        'train', config, '--auto-scale-lr'
    )
    changes = (
        'optim_wrapper.optimizer.lr=2e-3',
        'auto_scale_lr.base_batch_size=20',
        'param_scheduler=None',
    )
    assert command('train', config, '--auto-scale-lr', changes=changes)[0] == 0
    state = torch.load(tmp_path / 'work' / 'epoch_1.pth', weights_only=False)
    # The batch is 5.
    assert state['optimizer']['param_groups'][0]['lr'] == pytest.approx(2e-3 * 5 / 20)


@pytest.mark.parametrize('batch_size', [3, 9])
def test_dynamic_mixer_on_a_last_single_image_is_refused(
    command, config, tmp_path: Path, batch_size
):
    changes = (
        'model.backbone.mixer=dynamic',
        f'train_dataloader.batch_size={batch_size}',
        'default_hooks.logger.interval=1',
    )
    code, stderr = command('train', config, changes=changes)
    assert code == 2
    said = stderr.strip().splitlines()[-1]
    assert f'one image per process (10 in batches of {batch_size})' in said
    assert 'set drop_last=True' in said and 'another batch_size' in said
    assert 'Traceback' not in stderr
    assert 'Epoch(train)' not in logs(tmp_path / 'work')


def test_dynamic_mixer_trains_without_the_last_batch(command, config):
    changes = ('model.backbone.mixer=dynamic', 'train_dataloader.batch_size=3')
    assert command('train', config, changes=(*changes, 'train_dataloader.drop_last=True'))[0] == 0


def test_grey_images_stop_with_their_sentence(command, config, tmp_path: Path):
    changes = (
        'train_dataloader.dataset.pipeline.0.color_type=grayscale',
        'model.data_preprocessor.mean=None',
        'model.data_preprocessor.std=None',
        'model.data_preprocessor.to_rgb=False',
    )
    code, stderr = command('train', config, changes=changes)
    assert code == 2
    said = stderr.strip().splitlines()[-1]
    assert said.startswith('DWNet got an input of shape (5, 1, 64, 64), but takes images as (N, 3,')
    assert 'Traceback' in stderr  # once training runs, the fault may be in any module
    assert not list(tmp_path.rglob('*.pth'))


def test_errors_of_a_users_module_keep_their_traceback(command, config):
    @MODELS.register_module(force=True)
    class FaultyHead(LinearClsHead):
        def loss(self, *args: object, **kwargs: object) -> dict:
            raise UserError('a word from the head')

    code, stderr = command('train', config, changes=('model.head.type=FaultyHead',))
    assert code == 2
    assert 'in loss\n' in stderr
    assert stderr.strip().splitlines()[-1] == 'a word from the head'


def test_traceback_of_bad_input_is_shown_when_asked_for(command, config):
    changes = ('model.backbone.arch=giant',)
    for options, shown in (((), False), (('--traceback',), True)):
        code, stderr = command('train', config, *options, changes=changes)
        assert code == 2
        assert ('Traceback' in stderr) is shown
        assert 'giant' in stderr.strip().splitlines()[-1]
