# RTMDet's strong augmentation at 640 x 640; its last epochs use `train_pipeline_stage2`, without
# mosaic and mixup.
_base_ = './coco_instance.py'

image_size = (640, 640)
pad = dict(type='Pad', size=image_size, pad_val=dict(img=(114, 114, 114)))
load = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True, poly2mask=False),
]
crop = dict(type='RandomCrop', crop_size=image_size, recompute_bbox=True, allow_negative_crop=True)
distort = [dict(type='YOLOXHSVRandomAug'), dict(type='RandomFlip', prob=0.5), pad]
filter_boxes = dict(type='FilterAnnotations', min_gt_bbox_wh=(1, 1))

train_pipeline = [
    *load,
    dict(type='CachedMosaic', img_scale=image_size, pad_val=114.0),
    dict(type='RandomResize', scale=(1280, 1280), ratio_range=(0.1, 2.0), keep_ratio=True),
    crop,
    *distort,
    dict(
        type='CachedMixUp',
        img_scale=image_size,
        ratio_range=(1.0, 1.0),
        max_cached_images=20,
        pad_val=(114, 114, 114),
    ),
    filter_boxes,
    dict(type='PackDetInputs'),
]
train_pipeline_stage2 = [
    *load,
    dict(type='RandomResize', scale=image_size, ratio_range=(0.1, 2.0), keep_ratio=True),
    crop,
    filter_boxes,
    *distort,
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=image_size, keep_ratio=True),
    pad,
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=_base_.meta_keys),
]

train_dataloader = dict(
    batch_size=32, num_workers=10, batch_sampler=None, dataset=dict(pipeline=train_pipeline)
)
val_dataloader = dict(batch_size=5, num_workers=10, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(proposal_nums=(100, 1, 10))
test_evaluator = val_evaluator
