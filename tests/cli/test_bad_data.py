"""Bad data in training and testing: one sentence, or skipped and counted."""

from pathlib import Path

import pytest


@pytest.mark.parametrize('workers', [0, 2])
def test_an_unreadable_image_ends_the_training_in_one_sentence(
    command, config, data_root: Path, workers: int
):
    bad = data_root / 'train' / '3' / '3.png'
    bad.write_text('not an image')
    changes = (f'train_dataloader.num_workers={workers}',)
    code, stderr = command('train', config, changes=changes)
    assert code == 2
    assert 'Traceback' not in stderr
    assert stderr.strip().splitlines()[-1] == (
        f"{bad} is not an image: correct or remove it, or set bad_data='skip' in the config"
    )


@pytest.mark.parametrize('workers', [0, 2])
def test_an_unreadable_image_is_skipped_and_counted(
    command, config, data_root: Path, tmp_path: Path, workers: int
):
    for split in ('train', 'val'):
        (data_root / split / '3' / '3.png').write_bytes(b'')
    changes = (f'train_dataloader.num_workers={workers}', 'bad_data=skip')
    code, stderr = command('train', config, changes=changes)
    assert code == 0, stderr
    (log,) = (tmp_path / 'work').rglob('*.log')
    told = [line for line in log.read_text().splitlines() if 'WARNING' in line]
    print(told)
    assert any(
        line.endswith(
            f'1 bad samples among 10 were replaced by others: {data_root}/train/3/3.png is empty'
        )
        for line in told
    )
    assert any(
        line.endswith(
            f'1 of 10 samples are left out of the scores: {data_root}/val/3/3.png is empty'
        )
        for line in told
    )
