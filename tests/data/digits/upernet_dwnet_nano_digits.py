# A small UperNet on a nano DWNet, initialized from the digit classifier.
_base_ = [
    '../../../configs/_base_/models/upernet.py',
    '../../../configs/_base_/datasets/ade20k.py',
    '../../../configs/_base_/runtimes/seg.py',
]

crop_size = (160, 160)
head = dict(
    channels=48,
    num_classes=11,
    norm_cfg=dict(type='BN'),
    # The background is over four fifths of all pixels; at full weight it dominates the loss.
    loss_decode=dict(class_weight=[0.4] + [1.0] * 10),
)
model = dict(
    # mmsegmentation 1.2.2 cannot combine class weights with ignored pixels: padding is background.
    data_preprocessor=dict(size=crop_size, seg_pad_val=0),
    backbone=dict(
        type='DWNet',
        arch='nano',
        out_indices=(0, 1, 2, 3),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/demo/classify/epoch_4.pth',
            prefix='backbone.',
        ),
    ),
    decode_head=dict(in_channels=[32, 64, 128, 256], **head),
    auxiliary_head=dict(in_channels=128, **head),
)

data_root = 'data/digit_scenes/ade/ADEChallengeData2016/'
metainfo = dict(
    classes=(
        'ground',
        'zero',
        'one',
        'two',
        'three',
        'four',
        'five',
        'six',
        'seven',
        'eight',
        'nine',
    ),
    palette=[
        (70, 76, 84),
        (230, 73, 61),
        (247, 151, 43),
        (245, 211, 60),
        (140, 198, 63),
        (38, 166, 91),
        (38, 190, 190),
        (52, 132, 228),
        (106, 90, 205),
        (190, 82, 200),
        (240, 110, 165),
    ],
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', reduce_zero_label=True),
    dict(type='RandomResize', scale=(160, 160), ratio_range=(0.9, 1.15), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(160, 160), keep_ratio=True),
    dict(type='LoadAnnotations', reduce_zero_label=True),
    dict(type='PackSegInputs'),
]
digits = dict(type='BaseSegDataset', data_root=data_root, metainfo=metainfo, reduce_zero_label=True)
train_dataloader = dict(
    batch_size=8, num_workers=2, dataset=dict(**digits, pipeline=train_pipeline)
)
val_dataloader = dict(num_workers=1, dataset=dict(**digits, pipeline=test_pipeline))
test_dataloader = val_dataloader

max_iters = 840
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=420)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=4e-3, weight_decay=0.05, fused=True),
    paramwise_cfg=dict(
        norm_decay_mult=0.0, bias_decay_mult=0.0, custom_keys=dict(backbone=dict(lr_mult=0.3))
    ),
    clip_grad=dict(max_norm=10.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=60),
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=60, end=max_iters),
]

default_hooks = dict(
    logger=dict(interval=25),
    checkpoint=dict(interval=420, max_keep_ckpts=1),
)
log_processor = dict(window_size=25)
randomness = dict(seed=0)
