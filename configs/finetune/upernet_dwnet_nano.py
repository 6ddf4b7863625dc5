# A small UperNet on a DWNet nano, for small data sets and for machines without a GPU:
# tools/finetune.py segment DATA.
_base_ = '../seg/upernet_dwnet_tiny_160k_ade20k.py'
model = dict(
    backbone=dict(arch='nano', drop_path_rate=0.0, pad_to_window=False, init_cfg=None),
    decode_head=dict(in_channels=[32, 64, 128, 256], channels=48),
    auxiliary_head=dict(in_channels=128, channels=48),
)
