# Cascade Mask R-CNN with DWNet tiny, COCO, 36 epochs on 8 GPUs x 2 images.
# Mixed precision uses bfloat16 if the GPU supports it; the authors used float16 (--amp float16).
_base_ = [
    '../_base_/models/cascade_mask_rcnn.py',
    '../_base_/datasets/coco_instance_multiscale_crop.py',
    '../_base_/schedules/coco_3x.py',
    '../_base_/runtimes/det.py',
]
model = dict(
    # The authors' detectors were trained with padding.
    backbone=dict(
        type='DWNet',
        arch='tiny',
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.2,
        pad_to_window=True,
        norm_cfg=dict(type='SyncBN'),
        init_cfg=dict(type='Pretrained', checkpoint='dwnet://dwnet_tiny', prefix='backbone.'),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
