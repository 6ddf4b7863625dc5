max_iters = 160000

train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=16000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='GuardedOptimWrapper',
    dtype='float32',  # the authors trained segmentors without mixed precision
    optimizer=dict(type='AdamW', lr=6e-5, betas=(0.9, 0.999), weight_decay=0.01, fused=True),
    # DWNet keeps the authors' names: LayerNorms and output norms are called norm; BNs in blocks are
    # not, so they are decayed.
    paramwise_cfg=dict(custom_keys=dict(norm=dict(decay_mult=0.0))),
)
warmup = dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500)
param_scheduler = [
    warmup,
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=1500, end=max_iters),
]
# 8 GPUs x 2 images; `--auto-scale-lr` scales the learning rate for other batch sizes.
auto_scale_lr = dict(enable=False, base_batch_size=16)
