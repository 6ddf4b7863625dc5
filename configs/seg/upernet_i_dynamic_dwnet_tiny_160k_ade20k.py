_base_ = './upernet_dwnet_tiny_160k_ade20k.py'
model = dict(
    # No released weights for this backbone: train configs/cls/i_dynamic_dwnet_tiny.py first.
    backbone=dict(
        mixer='inhomogeneous',
        init_cfg=dict(checkpoint='work_dirs/i_dynamic_dwnet_tiny/epoch_300.pth'),
    ),
)
