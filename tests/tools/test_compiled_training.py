"""`compile=True` in a config: the three tasks train as without it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch._dynamo.utils import counters

from mmdwnet.cli import train

from .test_commands import CLASSIFIER, DEMO, on_data

DETECTOR, SEGMENTOR = (
    DEMO / f'{name}_dwnet_nano_digits.py' for name in ('cascade_mask_rcnn', 'upernet')
)
CHANGES = {
    CLASSIFIER: (
        'train_cfg.max_epochs=1',
        'train_dataloader.batch_size=5',
        *(f'{kind}_dataloader.dataset.indices=10' for kind in ('train', 'val')),
    ),
    **dict.fromkeys(
        (DETECTOR, SEGMENTOR),
        (
            'train_cfg.max_iters=2',
            'train_cfg.val_interval=2',
            'default_hooks.checkpoint.interval=2',
            'train_dataloader.batch_size=2',
            'model.backbone.init_cfg=None',
        ),
    ),
}
PLAIN_STEPS = ('optim_wrapper.optimizer.type=SGD', 'default_hooks.logger.interval=1')


@pytest.fixture
def trained(
    digits: Path, tmp_path: Path, forget: Callable[[], None]
) -> Callable[..., tuple[list[float], dict[str, torch.Tensor]]]:
    """Trains two iterations in this process; returns the losses and the weights."""

    def run(config: Path, name: str, *changes: str, args: tuple[str, ...] = ()) -> tuple:
        forget()
        work_dir = tmp_path / name
        options = [*on_data(config.stem, digits), *CHANGES[config], *PLAIN_STEPS, *changes]
        assert train.main([str(config), *args, '--work-dir', str(work_dir), *options]) == 0
        return results(work_dir)

    return run


def results(work_dir: Path) -> tuple[list[float], dict[str, torch.Tensor]]:
    (scalars,) = work_dir.glob('*/vis_data/scalars.json')
    lines = map(json.loads, scalars.read_text().splitlines())
    (checkpoint,) = work_dir.glob('*.pth')
    weights = torch.load(checkpoint, weights_only=False)['state_dict']
    return [line['loss'] for line in lines if 'loss' in line], weights


def assert_alike(first: tuple, second: tuple, rtol: float = 1e-4, atol: float = 1e-5) -> None:
    assert len(first[0]) == 2
    assert first[0] == pytest.approx(second[0], rel=rtol)
    torch.testing.assert_close(first[1], second[1], rtol=rtol, atol=atol)


@pytest.mark.usefixtures('compiler')
@pytest.mark.parametrize(
    'config',
    [
        pytest.param(CLASSIFIER, id='classify'),
        pytest.param(DETECTOR, id='detect', marks=pytest.mark.slow),
        pytest.param(SEGMENTOR, id='segment', marks=pytest.mark.slow),
    ],
)
def test_every_task_trains_alike(trained, config):
    counters.clear()
    one_size = ('train_dataloader.dataset.pipeline.2.scales=[(96,96)]',)
    changes = one_size if config == DETECTOR else ()
    compiled = trained(config, 'compiled', 'compile.backend=eager', *changes)
    # The backbone alone, whole, and not again for the images of the validation.
    assert counters['stats']['unique_graphs'] == 1
    assert not counters['graph_break']
    assert_alike(compiled, trained(config, 'eager', *changes))


@pytest.mark.slow
@pytest.mark.usefixtures('cpp_compiler')
@pytest.mark.parametrize(
    ('with_cp', 'args'),
    [('False', ()), ('selective', ()), ('True', ('--amp', 'bfloat16'))],
)
def test_the_default_back_end_trains_alike(trained, with_cp, args):
    with_cp = f'model.backbone.with_cp={with_cp}'
    compiled = trained(CLASSIFIER, 'compiled', 'compile=True', with_cp, args=args)
    eager = trained(CLASSIFIER, 'eager', args=args)
    # A fused loop rounds to bfloat16 less often.
    assert_alike(compiled, eager, **(dict(rtol=2e-2, atol=1e-3) if args else {}))


@pytest.mark.slow
@pytest.mark.parametrize('with_cp', ['False', 'True', 'selective'])
def test_two_processes_train_alike(script, digits, tmp_path, with_cp):
    changes = (
        *on_data(CLASSIFIER.stem, digits),
        *CHANGES[CLASSIFIER],
        *PLAIN_STEPS,
        *('train_dataloader.batch_size=3', f'model.backbone.with_cp={with_cp}'),
    )
    for name, option in (('compiled', 'compile.backend=aot_eager'), ('eager', 'compile=False')):
        options = ('--work-dir', tmp_path / name, *changes, option)
        done = script('dist_train.sh', CLASSIFIER, 2, *options, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert_alike(results(tmp_path / 'compiled'), results(tmp_path / 'eager'))
