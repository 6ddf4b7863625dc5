_base_ = './upernet_dwnet_tiny_160k_ade20k.py'
model = dict(
    backbone=dict(arch='base', init_cfg=dict(checkpoint='dwnet://dwnet_base')),
    decode_head=dict(in_channels=[128, 256, 512, 1024]),
    auxiliary_head=dict(in_channels=512),
)
