# Runtime settings of all three tasks; `runtimes/` adds those of each library.
custom_imports = dict(imports=['mmdwnet'], allow_failed_imports=False)

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='GuardedLoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='ResumableCheckpointHook', interval=1),
    sampler_seed=dict(type='DistSamplerSeedHook'),
)
# What to do about images and annotations that are at fault: 'stop', or 'skip' and report them.
bad_data = 'stop'
vis_backends = [dict(type='LocalVisBackend')]

log_level = 'INFO'
load_from = None
resume = False
