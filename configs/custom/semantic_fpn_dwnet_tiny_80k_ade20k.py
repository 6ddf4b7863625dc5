# Semantic FPN with DWNet: a segmentor with a neck, and two changes to the schedule.
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
# 4 GPUs x 4 images instead of 8 x 2, and a higher learning rate than for UperNet, as the head is
# light.
train_dataloader = dict(batch_size=4)
optim_wrapper = dict(optimizer=dict(lr=1e-4))
