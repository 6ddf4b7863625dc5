import pytest
from mmengine.config import Config

from mmdwnet.cli.environment import adapt, check_processes, local_processes
from mmdwnet.errors import UserError


def test_more_processes_than_gpus_are_refused():
    with pytest.raises(UserError, match='9 processes were asked for, but this machine shows 8 GPU'):
        check_processes(9, gpus=8)
    for fine in ((8, 8), (9, 0), (None, 8)):
        check_processes(fine[0], gpus=fine[1])


@pytest.mark.parametrize(
    ('launcher', 'variable'),
    [
        ('pytorch', 'LOCAL_WORLD_SIZE'),
        ('slurm', 'SLURM_NTASKS_PER_NODE'),
        ('mpi', 'OMPI_COMM_WORLD_LOCAL_SIZE'),
    ],
)
def test_launchers_tell_their_processes(launcher, variable):
    assert local_processes(launcher, {variable: '4'}) == 4
    assert local_processes(launcher, {}) is None
    for wrong in ('0', '-1', 'many', ''):
        with pytest.raises(UserError, match='give 1 or more'):
            local_processes(launcher, {variable: wrong})


def test_one_process_needs_no_launcher():
    assert local_processes('none', {'LOCAL_WORLD_SIZE': '4'}) == 1


def test_launcher_that_did_not_start_us_is_refused(refusal, config, monkeypatch):
    monkeypatch.delenv('RANK', raising=False)
    said = refusal('train', config, '--launcher', 'pytorch')
    assert said.startswith('the launcher has not set RANK: start through tools/dist_train.sh')


def test_several_processes_without_cuda_do_without_sync_bn(monkeypatch):
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    norm = dict(type='SyncBN', requires_grad=True)
    model = dict(backbone=dict(norm_cfg=norm), heads=[dict(norm_cfg=norm), dict(type='Head')])
    cfg = Config(dict(model=model, launcher='pytorch'))
    adapt(cfg)
    assert cfg.model.backbone.norm_cfg == dict(type='BN', requires_grad=True)
    assert [head.get('norm_cfg', {}).get('type') for head in cfg.model.heads] == ['BN', None]
