# DWNet nano, for small data sets and for machines without a GPU: tools/finetune.py classify DATA.
_base_ = '../cls/dwnet_tiny.py'
model = dict(backbone=dict(arch='nano', drop_path_rate=0.0), head=dict(in_channels=256))
