# Swin-MLP tiny with 24 channels per head, ImageNet-1K: the recipe of DWNet tiny at 256 x 256.
_base_ = [
    '../_base_/models/classifier.py',
    '../_base_/datasets/imagenet_256.py',
    '../_base_/schedules/imagenet_300e.py',
    '../_base_/runtimes/cls.py',
]
model = dict(
    backbone=dict(type='SwinMLP', arch='tiny_c24', drop_path_rate=0.2),
    head=dict(in_channels=768),
)
