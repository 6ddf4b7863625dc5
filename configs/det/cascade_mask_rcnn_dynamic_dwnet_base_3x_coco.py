_base_ = './cascade_mask_rcnn_dwnet_base_3x_coco.py'
model = dict(
    backbone=dict(
        mixer='dynamic',
        init_cfg=dict(checkpoint='dwnet://dynamic_dwnet_base'),
    ),
)
