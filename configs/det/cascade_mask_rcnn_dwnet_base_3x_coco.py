_base_ = './cascade_mask_rcnn_dwnet_tiny_3x_coco.py'
model = dict(
    backbone=dict(arch='base', drop_path_rate=0.3, init_cfg=dict(checkpoint='dwnet://dwnet_base')),
    neck=dict(in_channels=[128, 256, 512, 1024]),
)
