# DWNet base, as the tiny model's recipe but for what stands here: 16 GPUs x 64 images.
_base_ = './dwnet_tiny.py'
model = dict(
    backbone=dict(arch='base', drop_path_rate=0.5),
    head=dict(in_channels=1024),
)
train_dataloader = dict(batch_size=64)
