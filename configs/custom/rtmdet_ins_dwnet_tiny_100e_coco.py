# RTMDet-Ins with DWNet. Neck and head are those of RTMDet-Ins-m, whose backbone has as many
# channels. The schedule is that of mmdet's rtmdet_l_convnext_b_4xb32-100e_coco, for backbones
# pretrained on ImageNet: 100 epochs on 4 GPUs x 32 images, layer-wise decay of learning rates.
_base_ = [
    '../_base_/models/rtmdet_ins.py',
    '../_base_/datasets/coco_instance_mosaic.py',
    '../_base_/runtimes/det.py',
]
model = dict(
    backbone=dict(
        type='DWNet',
        arch='tiny',
        out_indices=(1, 2, 3),
        drop_path_rate=0.2,
        norm_cfg=dict(type='SyncBN'),
        init_cfg=dict(type='Pretrained', checkpoint='dwnet://dwnet_tiny', prefix='backbone.'),
    ),
    neck=dict(in_channels=[192, 384, 768]),
)

max_epochs, interval, lr = 100, 10, 1e-3
switch_epoch = 90  # from here on, without mosaic and mixup
train_cfg = dict(
    type='EpochBasedTrainLoop',
    max_epochs=max_epochs,
    val_interval=interval,
    dynamic_intervals=[(switch_epoch, 1)],
)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='GuardedOptimWrapper',
    dtype='float32',  # as in mmdet; --amp trains in mixed precision
    # Each block learns at 0.8 times the rate of the block after it.
    constructor='LayerDecayOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=lr, weight_decay=0.05, fused=True),
    paramwise_cfg=dict(
        layer_decay_rate=0.8,
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        bypass_duplicate=True,  # the levels of the head share convolutions
    ),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-5, by_epoch=False, begin=0, end=1000),
    # Constant for the first half.
    dict(
        type='CosineAnnealingLR',
        eta_min=lr * 0.05,
        begin=max_epochs // 2,
        end=max_epochs,
        T_max=max_epochs // 2,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
# 4 GPUs x 32 images; `--auto-scale-lr` scales the learning rate for other batch sizes.
auto_scale_lr = dict(enable=False, base_batch_size=128)

default_hooks = dict(checkpoint=dict(interval=interval, max_keep_ckpts=3))
custom_hooks = [
    dict(
        type='EMAHook',
        ema_type='ExpMomentumEMA',
        momentum=0.0002,
        update_buffers=True,
        priority=49,  # before the checkpoint
    ),
    dict(
        type='PipelineSwitchHook',
        switch_epoch=switch_epoch,
        switch_pipeline=_base_.train_pipeline_stage2,
    ),
]
