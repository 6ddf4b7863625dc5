# Mask R-CNN with DWNet. Other mmdet detectors use the backbone in the same way.

# Model without a backbone, data, schedule, runtime.
_base_ = [
    '../_base_/models/mask_rcnn.py',
    '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/coco_1x.py',
    '../_base_/runtimes/det.py',
]
model = dict(
    # Outputs of all four stages, each with a norm. Norms are BNs by default; use SyncBN on several
    # GPUs with few images each.
    backbone=dict(
        type='DWNet',
        arch='tiny',
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.2,
        norm_cfg=dict(type='SyncBN'),
        # To start from a classifier of configs/cls/, add
        # init_cfg=dict(type='Pretrained', checkpoint=CHECKPOINT, prefix='backbone.'),
    ),
    # Stage i has embed_dims * 2**i channels; embed_dims is 96 for tiny and 128 for base.
    neck=dict(in_channels=[96, 192, 384, 768]),
)
