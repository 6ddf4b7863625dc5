# Semantic FPN on DWNet: a segmentor with a neck, and a recipe changed in two places.
_base_ = [
    '../_base_/models/semantic_fpn.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/ade20k_80k.py',
    '../_base_/runtimes/seg.py',
]
model = dict(
    backbone=dict(
        type='DWNet',
        arch='tiny',
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.2,
        norm_cfg=dict(type='SyncBN'),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
# Of the schedule, only what differs: 4 GPUs x 4 images in place of 8 x 2, and the light head
# stands a higher learning rate than UperNet.
train_dataloader = dict(batch_size=4)
optim_wrapper = dict(optimizer=dict(lr=1e-4))
