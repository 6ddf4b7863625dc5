# Mask2Former for instances with DWNet: masks from queries, with the recipe of mmdet's
# mask2former_swin-t-p4-w7-224_8xb2-lsj-50e_coco, 50 epochs on 8 GPUs x 2 images.
_base_ = [
    '../_base_/models/mask2former.py',
    '../_base_/datasets/coco_instance_lsj.py',
    '../_base_/runtimes/det.py',
]
model = dict(
    backbone=dict(
        type='DWNet',
        arch='tiny',
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.3,
        norm_cfg=dict(type='SyncBN'),
        init_cfg=dict(type='Pretrained', checkpoint='dwnet://dwnet_tiny', prefix='backbone.'),
    ),
    panoptic_head=dict(in_channels=[96, 192, 384, 768]),
)

# The pretrained backbone learns at a tenth of the rate. There is no decay of embeddings and norms
# except for BNs in the backbone's blocks. Of the keys in a parameter's name, the longest decides.
backbone_norm = dict(lr_mult=0.1, decay_mult=0.0)
embedding = dict(decay_mult=0.0)
optim_wrapper = dict(
    type='GuardedOptimWrapper',
    dtype='float32',  # as in mmdet; --amp trains in mixed precision
    optimizer=dict(
        type='AdamW', lr=1e-4, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05, fused=True
    ),
    paramwise_cfg=dict(
        custom_keys={
            'backbone': dict(lr_mult=0.1),
            'backbone.norm': backbone_norm,
            'patch_embed.norm': backbone_norm,
            'downsample.norm': backbone_norm,
            'query_embed': embedding,
            'query_feat': embedding,
            'level_embed': embedding,
        },
        norm_decay_mult=0.0,
    ),
    clip_grad=dict(max_norm=0.01, norm_type=2),
)

max_iters, interval = 368750, 5000
train_cfg = dict(
    type='IterBasedTrainLoop',
    max_iters=max_iters,
    val_interval=interval,
    # After the last multiple of the interval, validate at the end.
    dynamic_intervals=[(max_iters // interval * interval + 1, max_iters)],
)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
param_scheduler = [
    dict(
        type='MultiStepLR',
        begin=0,
        end=max_iters,
        by_epoch=False,
        milestones=[327778, 355092],
        gamma=0.1,
    ),
]
# 8 GPUs x 2 images; `--auto-scale-lr` scales the learning rate for other batch sizes.
auto_scale_lr = dict(enable=False, base_batch_size=16)

default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=interval, max_keep_ckpts=3),
)
log_processor = dict(by_epoch=False)
