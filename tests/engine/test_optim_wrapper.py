from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub, MMLogger
from mmengine.optim import OptimWrapper, build_optim_wrapper
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from mmdwnet.engine import GuardedOptimWrapper
from mmdwnet.errors import UserError

from . import training
from .training import FUSED, HARMS, INF, NAN, Net, batches, optim_wrapper, state, train

REPOSITORY = Path(__file__).parents[2]
OPTIMIZERS = {
    'decides on the device': FUSED,
    'does not': dict(type='AdamW', lr=0.1),
    'has momentum': dict(type='SGD', lr=0.1, momentum=0.9, fused=True),
}
CLIPPING = [None, dict(max_norm=0.5), dict(type='value', clip_value=0.1)]


def same(one: dict, two: dict) -> None:
    """Asserts that two states are equal, bit for bit, and finite."""
    assert one.keys() == two.keys()
    for key, value in one.items():
        assert value.equal(two[key]), key
        assert value.isfinite().all(), key


@pytest.mark.parametrize('optimizer', OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
@pytest.mark.parametrize('clip_grad', CLIPPING)
@pytest.mark.parametrize('harm', HARMS)
def test_dropped_batches_leave_no_trace(harm, clip_grad, dtype, optimizer):
    data = batches(6, {0: harm, 3: harm, 4: harm})
    options = dict(clip_grad=clip_grad, dtype=dtype, optimizer=optimizer)
    harmed, wrapper = train(data, **options)
    clean, other = train([data[i] for i in (1, 2, 5)], **options)
    same(state(harmed, wrapper), state(clean, other))
    assert (wrapper.dropped, other.dropped) == (3, 0)


@pytest.mark.parametrize('harm', HARMS)
@pytest.mark.parametrize('at', [2, 3])
def test_all_that_was_accumulated_is_dropped(harm, at):
    # Windows of two, and one left over, which mmengine weighs as a whole one.
    data = batches(7, {at: harm})
    harmed, wrapper = train(data, accumulative_counts=2)
    clean, other = train([*data[:2], *data[4:]], accumulative_counts=2)
    same(state(harmed, wrapper), state(clean, other))
    assert wrapper.dropped == 1
    assert wrapper.inner_count == 7


@pytest.mark.parametrize('clip_grad', CLIPPING)
def test_finite_batches_train_as_with_mmengines_wrapper(clip_grad):
    guarded, wrapper = train(batches(5), clip_grad=clip_grad, accumulative_counts=2)
    plain = Net()
    other = OptimWrapper(
        torch.optim.AdamW(plain.parameters(), lr=0.1, fused=True),
        clip_grad=clip_grad and dict(clip_grad),
        accumulative_counts=2,
    )
    other.initialize_count_status(plain, 0, 5)
    for batch in batches(5):
        plain.train_step(batch, other)
    same(state(guarded, wrapper), state(plain, other))


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
@pytest.mark.parametrize('name', ['cls/dwnet_tiny', 'det/', 'seg/'])
def test_no_step_of_the_configs_waits_for_the_device(name, dtype):
    (config, *_) = sorted((REPOSITORY / 'configs').glob(f'{name}*.py'))
    options = Config.fromfile(config).optim_wrapper | dict(dtype=dtype)
    with FakeTensorMode():  # tensors without values: there is nothing to read
        model = Net()
        wrapper = build_optim_wrapper(model, options)
        wrapper.deferred = True
        for batch in batches(2):
            model.train_step(batch, wrapper)
        with pytest.raises(DataDependentOutputException, match='_local_scalar_dense'):
            wrapper.report()


def test_deferred_reports_are_those_of_each_step(tmp_path: Path):
    data = batches(6, dict.fromkeys((1, 3, 4), ('loss', NAN)))
    hub = MessageHub.get_current_instance()
    reported = []
    for deferred in (False, True):
        log = tmp_path / f'{deferred}.log'
        MMLogger.get_instance(log.name, log_file=str(log), log_level='WARNING')
        hub.log_scalars.clear()
        _, wrapper = train(data, deferred)
        if deferred:
            assert (wrapper.dropped, log.read_text()) == (0, '')
        wrapper.report()
        told = [line.split(' - ')[-1] for line in log.read_text().splitlines()]
        logged = [
            hub.get_scalar(f'train/{key}').data[0].tolist() for key in ('grad_norm', 'dropped')
        ]
        reported.append((told, logged, wrapper.dropped, wrapper.dropped_in_a_row))
    assert reported[0] == reported[1]
    assert len(reported[0][0]) == 3


def test_a_state_that_is_not_fused_is_resumed():
    # torch's load_state_dict takes over what the checkpoint's optimizer was built with.
    model, wrapper = train(batches(2), optimizer=OPTIMIZERS['does not'])
    resumed = optim_wrapper(model)
    resumed.load_state_dict(wrapper.state_dict())
    before = state(model, resumed)
    bad, good = batches(2, {0: ('gradient', NAN)})
    model.train_step(bad, resumed)
    same(state(model, resumed), before)
    model.train_step(good, resumed)
    assert resumed.dropped == 1
    assert not model.linear.weight.equal(before['linear.weight'])


def test_an_optimizer_with_a_step_of_its_own_is_not_asked_to_decide():
    class Own(torch.optim.AdamW):
        def step(self, closure=None):
            for parameter in self.param_groups[0]['params']:
                parameter.data -= parameter.grad

    model = Net()
    wrapper = GuardedOptimWrapper(optimizer=Own(model.parameters(), fused=True))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    (bad,) = batches(1, {0: ('gradient', NAN)})
    model.train_step(bad, wrapper)
    same(model.state_dict(), before)


def test_a_checkpoint_counts_what_was_not_reported():
    _, wrapper = train(batches(2, {1: ('loss', NAN)}), deferred=True)
    assert wrapper.state_dict()['dropped'] == dict(total=1, in_a_row=1)


def test_products_are_in_bfloat16_and_weights_stay():
    model = torch.nn.Linear(4, 4)
    wrapper = optim_wrapper(model, dtype='bfloat16')
    with wrapper.optim_context(model):
        out = model(torch.ones(2, 4))
    assert out.dtype == torch.bfloat16
    wrapper.update_params(out.float().sum())
    assert model.weight.dtype == torch.float32


@pytest.mark.slow
def test_two_processes_decide_alike(tmp_path: Path, run_in_two_processes):
    run_in_two_processes(training.__file__)
    first, second = (torch.load(tmp_path / f'{rank}.pth') for rank in (0, 1))
    ends = first.pop('end'), second.pop('end')
    assert ends[0] == ends[1]
    assert '4 batches in a row were dropped, the last in iteration 6,' in ends[0]
    assert len(first) == len(second) == 2 * len(HARMS)
    for name in first:
        for results in (first[name], second[name]):
            assert results['drops'] == 1
            same(results['harmed'], results['clean'])
        for key in ('linear.weight', 'norm.weight'):
            assert first[name]['harmed'][key].equal(second[name]['harmed'][key])


def test_drops_are_counted_warned_of_and_logged(tmp_path: Path):
    # mmengine's logger tells the same sentence only once: this one has told none.
    MMLogger.get_instance('drops', log_file=str(tmp_path / 'log'), log_level='WARNING')
    train(batches(3, {0: ('gradient', NAN), 2: ('loss', INF)}))
    first, second = (tmp_path / 'log').read_text().splitlines()
    assert 'iteration 1: its gradients are not finite (1 dropped so far, 1 in a row)' in first
    assert 'iteration 3: its loss is not finite (2 dropped so far, 1 in a row)' in second
    assert MessageHub.get_current_instance().get_scalar('train/dropped').current() == 2


def test_norm_of_the_gradients_is_logged():
    hub = MessageHub.get_current_instance()
    model = torch.nn.Linear(3, 1, bias=False)
    for clip_grad in CLIPPING:
        wrapper = optim_wrapper(model, clip_grad=clip_grad and dict(clip_grad))
        wrapper.update_params(model(torch.tensor([3.0, 0.0, 4.0])).sum())
        assert hub.get_scalar('train/grad_norm').current() == pytest.approx(5)


@pytest.mark.parametrize('harm', [('input', INF), ('gradient', NAN)])
def test_too_many_drops_in_a_row_end_the_run(harm):
    # With a good one in between, it goes on.
    harmed = dict.fromkeys((0, 1, 3, 4), harm)
    train(batches(5, harmed), max_dropped_in_a_row=2)
    with pytest.raises(UserError, match=r'^3 batches in a row .* iteration 3, .*lower optim_wr'):
        train(batches(5, dict.fromkeys(range(3), harm)), max_dropped_in_a_row=2)


def test_counts_outlive_a_resume(tmp_path: Path):
    harm = ('loss', NAN)
    model, wrapper = train(batches(4, dict.fromkeys((0, 2, 3), harm)))
    torch.save(wrapper.state_dict(), tmp_path / 'optimizer.pth')
    resumed = optim_wrapper(model, max_dropped_in_a_row=2)
    resumed.load_state_dict(torch.load(tmp_path / 'optimizer.pth'))
    assert resumed.dropped == 3
    same(state(model, wrapper), state(model, resumed))
    (bad,) = batches(1, {0: harm})
    with pytest.raises(UserError, match='3 batches in a row'):
        model.train_step(bad, resumed)
    assert resumed.dropped == 4


def test_checkpoints_go_between_it_and_mmengines_wrapper():
    model, wrapper = train(batches(3, {1: ('loss', NAN)}))
    plain = OptimWrapper(torch.optim.AdamW(model.parameters()))
    plain.load_state_dict(wrapper.state_dict())
    same(state(model, plain), state(model, wrapper))
    back = optim_wrapper(model)
    back.load_state_dict(plain.state_dict())
    same(state(model, back), state(model, wrapper))
    assert back.dropped == 0


def with_loss_scale(model: torch.nn.Module, scale: float, **options):
    """A wrapper that scales losses as for float16, which the CPU has not."""
    wrapper = optim_wrapper(model, **options)
    wrapper.loss_scaler = torch.amp.GradScaler('cpu', init_scale=scale, growth_interval=2)
    return wrapper


@pytest.mark.parametrize('clip_grad', CLIPPING)
def test_loss_scale_changes_no_update(clip_grad):
    model = Net()
    wrapper = with_loss_scale(model, 2.0**10, clip_grad=clip_grad, accumulative_counts=2)
    for batch in batches(6):
        model.train_step(batch, wrapper)
    # Scaling by powers of two is exact.
    same(
        state(model, wrapper), state(*train(batches(6), clip_grad=clip_grad, accumulative_counts=2))
    )
    assert wrapper.loss_scaler.get_scale() == 2.0**11  # after two updates it grows


def test_too_large_a_loss_scale_drops_and_is_lowered():
    scaled, plain = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    plain.load_state_dict(scaled.state_dict())
    # Gradients of 2**10: float32 ends below 2**128, so two of the three steps overflow.
    wrapper, other = with_loss_scale(scaled, 2.0**119), optim_wrapper(plain)
    for _ in range(3):
        wrapper.update_params(2.0**10 * scaled(torch.ones(1, 1)).sum())
    other.update_params(2.0**10 * plain(torch.ones(1, 1)).sum())
    assert (wrapper.dropped, wrapper.dropped_in_a_row) == (2, 0)
    assert wrapper.loss_scaler.get_scale() == 2.0**117
    same(state(scaled, wrapper), state(plain, other))


def test_loss_scale_outlives_a_resume():
    model = Net()
    wrapper = with_loss_scale(model, 2.0**5)
    (bad,) = batches(1, {0: ('gradient', INF)})
    model.train_step(bad, wrapper)
    assert wrapper.loss_scaler.get_scale() == 2.0**4
    resumed = with_loss_scale(model, 2.0**5)
    resumed.load_state_dict(wrapper.state_dict())
    assert resumed.loss_scaler.get_scale() == 2.0**4
    # Without a scale of its own, a run leaves the checkpoint's alone.
    optim_wrapper(model).load_state_dict(wrapper.state_dict())
