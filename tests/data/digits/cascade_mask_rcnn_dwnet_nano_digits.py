# A small Cascade Mask R-CNN on a nano DWNet, initialized from the digit classifier.
_base_ = [
    '../../../configs/_base_/models/cascade_mask_rcnn.py',
    '../../../configs/_base_/datasets/coco_instance.py',
    '../../../configs/_base_/runtimes/det.py',
]

channels = 64
box_head = dict(
    num_shared_convs=1,
    in_channels=channels,
    conv_out_channels=channels,
    fc_out_channels=256,
    num_classes=10,
    reg_class_agnostic=True,
    norm_cfg=dict(type='BN'),
    loss_bbox=dict(type='GIoULoss', loss_weight=5.0),
)
# On these images a bin is hardly larger than a cell of the feature map: one sample is enough.
roi_extractor = dict(roi_layer=dict(sampling_ratio=1), out_channels=channels)
box_heads = [{**head, **box_head} for head in _base_.model.roi_head.bbox_head]
rcnn = [
    {**stage, 'sampler': {**stage['sampler'], 'num': 64}} for stage in _base_.model.train_cfg.rcnn
]
model = dict(
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
    neck=dict(in_channels=[32, 64, 128, 256], out_channels=channels, num_outs=4),
    rpn_head=dict(
        in_channels=channels,
        feat_channels=channels,
        anchor_generator=dict(strides=[4, 8, 16, 32]),
    ),
    roi_head=dict(
        bbox_roi_extractor=roi_extractor,
        bbox_head=box_heads,
        mask_roi_extractor=roi_extractor,
        mask_head=dict(
            num_convs=2, in_channels=channels, conv_out_channels=channels, num_classes=10
        ),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=64)),
        rpn_proposal=dict(nms_pre=300, max_per_img=150),
        rcnn=rcnn,
    ),
    test_cfg=dict(rpn=dict(nms_pre=300, max_per_img=100), rcnn=dict(max_per_img=20)),
)

data_root = 'data/digit_scenes/coco/'
metainfo = dict(
    classes=('zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine')
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(
        type='RandomChoiceResize',
        scales=[(size, size) for size in (128, 144, 160, 176)],
        keep_ratio=True,
    ),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(160, 160), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='PackDetInputs', meta_keys=_base_.meta_keys),
]
train_dataloader = dict(
    batch_size=4,
    sampler=dict(type='InfiniteSampler'),
    dataset=dict(data_root=data_root, metainfo=metainfo, pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=4,
    num_workers=1,
    dataset=dict(data_root=data_root, metainfo=metainfo, pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val2017.json')
test_evaluator = val_evaluator

max_iters = 370
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=185)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1.5e-3, weight_decay=0.05, fused=True),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    clip_grad=dict(max_norm=10.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=80),
    dict(
        type='CosineAnnealingLR',
        eta_min_ratio=0.01,
        by_epoch=False,
        begin=0,
        end=max_iters,
        T_max=max_iters,
    ),
]

default_hooks = dict(
    logger=dict(interval=25, log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=185, max_keep_ckpts=1),
)
log_processor = dict(window_size=25, by_epoch=False)
randomness = dict(seed=0)
