_base_ = './cascade_mask_rcnn_dwnet_base_3x_coco.py'
model = dict(
    # No released weights for this backbone: train configs/cls/i_dynamic_dwnet_base.py first.
    backbone=dict(
        mixer='inhomogeneous',
        init_cfg=dict(checkpoint='work_dirs/i_dynamic_dwnet_base/epoch_300.pth'),
    ),
)
