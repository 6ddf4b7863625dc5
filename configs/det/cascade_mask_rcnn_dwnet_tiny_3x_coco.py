# Cascade Mask R-CNN on DWNet tiny, COCO, 36 epochs on 8 GPUs x 2 images.
# Mixed precision is bfloat16 where the GPU has it; --amp float16 asks for what the authors used.
_base_ = [
    '../_base_/models/cascade_mask_rcnn.py',
    '../_base_/datasets/coco_instance_multiscale_crop.py',
    '../_base_/schedules/coco_3x.py',
    '../_base_/runtimes/det.py',
]
model = dict(
    # The authors' detectors were trained with the padding.
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
