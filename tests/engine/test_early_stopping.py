"""A run that is resumed stops early after the same validation as an undisturbed one."""

from pathlib import Path

import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmdwnet.checkpoints.latest import find_latest
from mmdwnet.checkpoints.loading import as_data

from .training import FUSED, Net, batches

SCORES = [1.0, 3.0, 2.0, 3.0, 2.5, 1.0, 9.0, 9.0]  # the best is the second


class Valued(Net):
    def forward(self, inputs, harm=None, mode='loss') -> object:
        return super().forward(inputs, harm, mode) if mode == 'loss' else [inputs]


class Given(BaseMetric):
    """Gives one of `SCORES` for each epoch."""

    def process(self, data_batch: dict, data_samples: list) -> None:
        self.results.append(0)

    def compute_metrics(self, results: list) -> dict:
        return dict(accuracy=SCORES[self.runner.epoch - 1])


def train(folder: Path, epochs: int = len(SCORES), patience: int = 3, resume: bool = False):
    metric = Given()
    loader = DataLoader(batches(2), collate_fn=lambda batch: batch[0])
    metric.runner = runner = Runner(
        Valued(),
        work_dir=str(folder),
        train_dataloader=loader,
        train_cfg=dict(type='ResumableEpochBasedTrainLoop', max_epochs=epochs),
        optim_wrapper=dict(type='GuardedOptimWrapper', optimizer=FUSED),
        val_dataloader=loader,
        val_cfg=dict(),
        val_evaluator=[metric],
        default_hooks=dict(
            checkpoint=dict(
                type='ResumableCheckpointHook', interval=1, save_best='accuracy', rule='greater'
            )
        ),
        custom_hooks=[
            dict(type='ResumableEarlyStoppingHook', monitor='accuracy', patience=patience)
        ],
        resume=resume,
        load_from=find_latest(str(folder))[0] if resume else None,
        experiment_name=f'{folder.name} {epochs} {patience}',
        randomness=dict(seed=0),
    )
    with as_data():  # mmengine 0.10 cannot read its checkpoints with today's torch
        runner.train()
    return runner


@pytest.mark.parametrize('epoch', range(1, 5))
def test_a_resumed_run_stops_after_the_same_validation(tmp_path, epoch):
    assert train(tmp_path, epochs=epoch).epoch == epoch
    resumed = train(tmp_path, resume=True)
    assert resumed.epoch == 5  # three validations after the best one
    assert (tmp_path / 'best_accuracy_epoch_2.pth').is_file()


def test_a_best_checkpoint_knows_its_own_validation(tmp_path):
    train(tmp_path, epochs=2)
    (tmp_path / 'last_checkpoint').write_text('best_accuracy_epoch_2.pth')
    assert train(tmp_path, resume=True).epoch == 5


def test_a_stopped_run_stays_stopped_unless_its_patience_is_raised(tmp_path):
    train(tmp_path)
    weights = torch.load(tmp_path / 'epoch_5.pth', weights_only=False)['state_dict']
    again = train(tmp_path, resume=True)
    assert again.epoch == 5
    assert all(weights[key].equal(value) for key, value in again.model.state_dict().items())
    assert train(tmp_path, patience=6, resume=True).epoch == len(SCORES)
