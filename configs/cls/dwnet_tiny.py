# DWNet tiny, ImageNet-1K, 300 epochs at 224 x 224 on 8 GPUs x 128 images.
# Mixed precision uses bfloat16 if the GPU supports it; the authors used float16 (--amp float16).
_base_ = [
    '../_base_/models/classifier.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/imagenet_300e.py',
    '../_base_/runtimes/cls.py',
]
model = dict(
    backbone=dict(type='DWNet', arch='tiny', drop_path_rate=0.2),
    head=dict(in_channels=768),
)
