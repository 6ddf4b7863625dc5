max_epochs = 12

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='GuardedOptimWrapper',
    # Mixed precision as in the authors' code: bfloat16 if the GPU supports it, else float16.
    dtype='auto',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05, fused=True),
    # DWNet keeps the authors' names: LayerNorms and output norms are called norm; BNs in blocks are
    # not, so they are decayed.
    paramwise_cfg=dict(custom_keys=dict(norm=dict(decay_mult=0.0))),
)
warmup = dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500)
param_scheduler = [
    warmup,
    dict(type='MultiStepLR', begin=0, end=max_epochs, milestones=[8, 11], gamma=0.1),
]
# 8 GPUs x 2 images; `--auto-scale-lr` scales the learning rate for other batch sizes.
auto_scale_lr = dict(enable=False, base_batch_size=16)
