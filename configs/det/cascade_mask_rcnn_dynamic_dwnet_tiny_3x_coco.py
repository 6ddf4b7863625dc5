_base_ = './cascade_mask_rcnn_dwnet_tiny_3x_coco.py'
model = dict(
    backbone=dict(
        mixer='dynamic',
        init_cfg=dict(checkpoint='dwnet://dynamic_dwnet_tiny'),
    ),
)
