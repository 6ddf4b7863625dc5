from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from torch.nn.modules.batchnorm import _BatchNorm

from mmdwnet.cli.environment import (
    adapt,
    check_processes,
    checks_files,
    local_processes,
    processes,
)
from mmdwnet.cli.preflight import preflight
from mmdwnet.errors import UserError


def test_more_processes_than_gpus_are_refused():
    with pytest.raises(UserError, match='9 processes were asked for, but this machine shows 8 GPU'):
        check_processes('pytorch', {'LOCAL_WORLD_SIZE': '9'}, gpus=8)
    for number, gpus in (('8', 8), ('9', 0)):
        check_processes('pytorch', {'LOCAL_WORLD_SIZE': number}, gpus=gpus)
    check_processes('pytorch', {}, gpus=8)


def test_slurm_tasks_with_a_gpu_each_are_not_refused():
    # Each sees its own alone, as with --gpus-per-task=1 or --gpu-bind=single:1.
    check_processes('slurm', {'SLURM_NTASKS_PER_NODE': '4'}, gpus=1)
    with pytest.raises(UserError, match='give 1 or more'):
        check_processes('slurm', {'SLURM_NTASKS_PER_NODE': '0'}, gpus=1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_slurm_task_uses_the_gpu_that_it_sees(monkeypatch):
    task = torch.cuda.device_count() + 2  # others have the GPUs before
    for name, value in dict(PROCID=0, NTASKS=1, LOCALID=task, NODELIST='localhost').items():
        monkeypatch.setenv(f'SLURM_{name}', str(value))
    monkeypatch.setenv('MASTER_ADDR', '127.0.0.1')
    for name in ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_PORT'):
        monkeypatch.setenv(name, '29511')  # which mmengine sets, and monkeypatch restores
    with processes('slurm', dict(dist_cfg=dict(backend='nccl'))):
        torch.distributed.all_reduce(torch.ones(1, device='cuda'))


def test_one_process_per_machine_checks_files(monkeypatch):
    monkeypatch.delenv('MMDWNET_CHECKED', raising=False)
    assert checks_files('none')
    for launcher, variable in (('pytorch', 'LOCAL_RANK'), ('slurm', 'SLURM_LOCALID')):
        for rank in ('0', '1'):
            monkeypatch.setenv(variable, rank)
            assert checks_files(launcher) is (rank == '0')
        monkeypatch.setenv(variable, '0')
        monkeypatch.setenv('MMDWNET_CHECKED', '1')  # by tools/dist_train.sh
        assert not checks_files(launcher)
        monkeypatch.delenv('MMDWNET_CHECKED')


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


@pytest.mark.parametrize('norm', ['SyncBN', torch.nn.SyncBatchNorm])
def test_several_processes_without_cuda_do_without_sync_bn(monkeypatch, tmp_path: Path, norm):
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    norm = dict(type=norm, requires_grad=True)
    backbone = dict(type='DWNet', arch='nano', norm_cfg=norm)
    model = dict(type='ImageClassifier', backbone=backbone, neck=None, head=None)
    cfg = Config(
        dict(model=model, launcher='pytorch', default_scope='mmpretrain', work_dir=str(tmp_path))
    )
    cfg.sync_bn = 'torch'
    adapt(cfg)
    assert cfg.sync_bn is None
    norms = [m for m in preflight(cfg, []).model.modules() if isinstance(m, _BatchNorm)]
    assert norms
    assert not any(isinstance(norm, torch.nn.SyncBatchNorm) for norm in norms)
