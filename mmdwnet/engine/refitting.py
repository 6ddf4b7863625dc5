"""Changes to a checkpoint before it is loaded by other processes, or with other batches."""

from typing import Any

from mmengine.runner import EpochBasedTrainLoop, Runner

from .loops import Resumable
from .places import Stretch

_MOST_PROCESSES = 2**16
# What changes in a schedule while it runs.
_CHANGING = {
    *('last_step', '_global_step', '_last_value', 'base_values'),
    *('best', 'num_bad_epochs', 'cooldown_counter', '_get_value_called_within_step'),
}


def describe(runner: Runner) -> dict[str, Any]:
    """Return what `refit` has to know of the run that writes a checkpoint."""
    return dict(
        stretches=[vars(stretch) for stretch in runner.train_loop.stretches],
        batches=len(runner.train_dataloader),
        lr_scale=_scale(runner),
    )


def refit(checkpoint: dict, runner: Runner) -> None:
    """Change a checkpoint in place to what it would be in the run that goes on from it.

    With other processes or batches, an epoch has another number of iterations. If the learning rate
    is scaled automatically, it is scaled by the new number of images in a step.

    Args:
        checkpoint: The checkpoint.
        runner: The Runner that goes on.
    """
    meta, loop = checkpoint['meta'], runner.train_loop
    _check(meta, loop)
    written, now = Stretch(**meta['place']['stretches'][-1]), loop.stretches[-1]
    factor = _scale(runner) / meta['place']['lr_scale']
    _scale_rates(checkpoint, factor)
    if (written.processes, written.batch_size) == (now.processes, now.batch_size):
        return
    if isinstance(loop, EpochBasedTrainLoop):
        longer = len(runner.train_dataloader) / meta['place']['batches']
        meta['iter'] = round(meta['iter'] * longer)
        _stretch_schedules(checkpoint, runner, longer)
    rates = ', '.join(
        f'{rate:.3g}' for rate in sorted({each['lr'] for each in _groups(checkpoint)})
    )
    runner.logger.warning(
        f'the checkpoint is from {written.processes} process(es) with batches of '
        f'{written.batch_size}, this run has {now.processes} with batches of {now.batch_size}: a '
        f'step takes {now.images} images instead of {written.images}; the learning rate is {rates}'
        + (f', {factor:.3g} times what it was' if factor != 1 else '; --auto-scale-lr would fit it')
    )


def _check(meta: dict, loop: Resumable) -> None:
    """Raise a ValueError if a place is none that a training can have come to."""
    stretches = [Stretch(**stretch) for stretch in meta['place']['stretches']]
    seen = sum(each.images * each.batches for each in stretches)
    data: Any = loop.dataloader.dataset
    whole = len(data)
    if (
        not all(type(number) is int for each in stretches for number in vars(each).values())
        or not all(0 < each.processes <= _MOST_PROCESSES for each in stretches)
        or not all(each.batch_size > 0 and each.batches >= 0 for each in stretches)
        or (isinstance(loop, EpochBasedTrainLoop) and seen > whole + stretches[-1].images)
        or (sum(each.batches for each in stretches) > max(meta['iter'], whole))
    ):
        raise ValueError(f'no place in a training: {stretches}')


def _scale(runner: Runner) -> float:
    """Return what mmengine has multiplied the config's learning rate by."""
    scaling = runner.auto_scale_lr or {}
    if not scaling.get('enable', False):
        return 1
    return runner.train_loop.stretches[-1].images / scaling['base_batch_size']


def _scale_rates(checkpoint: dict, factor: float) -> None:
    """Multiply the learning rates of a checkpoint, and what they start from."""
    for group in _groups(checkpoint):
        for key in ('lr', 'initial_lr'):
            if key in group:
                group[key] *= factor
    for state in _schedules(checkpoint.get('param_schedulers', [])):
        if state.get('param_name') == 'lr':
            for key in ('base_values', '_last_value'):
                state[key] = [value * factor for value in state[key]]


def _stretch_schedules(checkpoint: dict, runner: Runner, factor: float) -> None:
    """Give schedules that were converted from epochs to iterations the new iterations."""
    fresh = _schedules(runner.param_schedulers or [])
    for state, schedule in zip(
        _schedules(checkpoint.get('param_schedulers', [])), fresh, strict=True
    ):
        fixed = {key: value for key, value in schedule.state_dict().items() if key not in _CHANGING}
        if any(state.get(key) != value for key, value in fixed.items()):
            state.update(fixed)
            for key in ('last_step', '_global_step'):
                state[key] = round(state[key] * factor)


def _groups(checkpoint: dict) -> list[dict]:
    """Return the parameter groups of all optimizers."""
    optimizer = checkpoint.get('optimizer', {})
    several = [optimizer] if 'param_groups' in optimizer else optimizer.values()
    return [group for each in several for group in each.get('param_groups', [])]


def _schedules(of: list | dict) -> list:
    """Return the schedules of all optimizers."""
    return of if isinstance(of, list) else [each for some in of.values() for each in some]
