_base_ = './upernet_dwnet_tiny_160k_ade20k.py'
model = dict(
    backbone=dict(
        mixer='dynamic',
        init_cfg=dict(checkpoint='dwnet://dynamic_dwnet_tiny'),
    ),
)
