# RetinaNet with DWNet: a detector that does not use the first stage.
_base_ = [
    '../_base_/models/retinanet.py',
    '../_base_/datasets/coco_detection.py',
    '../_base_/schedules/coco_1x.py',
    '../_base_/runtimes/det.py',
]
model = dict(
    # Maps at 1/8, 1/16 and 1/32; the first stage has no norm and is not an input of the neck.
    backbone=dict(
        type='DWNet',
        arch='tiny',
        out_indices=(1, 2, 3),
        drop_path_rate=0.2,
        norm_cfg=dict(type='SyncBN'),
    ),
    neck=dict(in_channels=[192, 384, 768]),
)
