max_epochs = 300
warmup_epochs = 20

train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=1)
val_cfg = dict()
test_cfg = dict()

optim_wrapper = dict(
    # Skips batches with non-finite loss or gradients, as the authors' loop does.
    type='GuardedOptimWrapper',
    # Mixed precision as in the authors' code: bfloat16 if the GPU supports it, else float16.
    dtype='auto',
    optimizer=dict(
        type='AdamW', lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05, fused=True
    ),
    # No decay of one-dimensional parameters: biases and norms.
    paramwise_cfg=dict(flat_decay_mult=0.0),
    clip_grad=dict(max_norm=5.0),
)
# Both are specified in epochs and stepped every iteration.
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, end=warmup_epochs, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-5,
        begin=warmup_epochs,
        end=max_epochs,
        T_max=max_epochs - warmup_epochs,
        convert_to_iter_based=True,
    ),
]
# 8 GPUs x 128 images, or 16 x 64; `--auto-scale-lr` scales the learning rate for others.
auto_scale_lr = dict(base_batch_size=1024)
