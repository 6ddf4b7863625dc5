# DINO with DWNet: a transformer on the last three stages, with the recipe of mmdet's
# dino-4scale_r50_8xb2-12e_coco.
_base_ = [
    '../_base_/models/dino.py',
    '../_base_/datasets/coco_detection_multiscale_crop.py',
    '../_base_/schedules/coco_1x.py',
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
    # The neck adds a fourth map, at 1/64.
    neck=dict(in_channels=[192, 384, 768]),
)
optim_wrapper = dict(
    dtype='float32',  # as DINO was trained; --amp trains in mixed precision
    optimizer=dict(weight_decay=1e-4),
    # The pretrained backbone learns at a tenth of the rate.
    paramwise_cfg=dict(_delete_=True, custom_keys=dict(backbone=dict(lr_mult=0.1))),
    clip_grad=dict(max_norm=0.1, norm_type=2),
)
param_scheduler = [
    dict(type='MultiStepLR', begin=0, end=12, by_epoch=True, milestones=[11], gamma=0.1),
]
