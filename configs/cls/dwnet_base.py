# DWNet base: the recipe of the tiny model on 16 GPUs x 64 images, with these changes.
_base_ = './dwnet_tiny.py'
model = dict(
    backbone=dict(arch='base', drop_path_rate=0.5),
    head=dict(in_channels=1024),
)
train_dataloader = dict(batch_size=64)
