# A small Cascade Mask R-CNN on a DWNet nano, for small data sets and for machines without a GPU:
# tools/finetune.py detect DATA.
_base_ = '../det/cascade_mask_rcnn_dwnet_tiny_3x_coco.py'

channels = 64
box_head = dict(
    num_shared_convs=1,
    in_channels=channels,
    conv_out_channels=channels,
    fc_out_channels=256,
    reg_class_agnostic=True,
    loss_bbox=dict(type='GIoULoss', loss_weight=5.0),
)
# On small images a bin is hardly larger than a cell of the feature map: one sample is enough.
roi_extractor = dict(roi_layer=dict(sampling_ratio=1), out_channels=channels)
model = dict(
    backbone=dict(arch='nano', drop_path_rate=0.0, pad_to_window=False, init_cfg=None),
    neck=dict(in_channels=[32, 64, 128, 256], out_channels=channels, num_outs=4),
    rpn_head=dict(
        in_channels=channels,
        feat_channels=channels,
        anchor_generator=dict(strides=[4, 8, 16, 32]),
    ),
    roi_head=dict(
        bbox_roi_extractor=roi_extractor,
        bbox_head=[{**head, **box_head} for head in _base_.model.roi_head.bbox_head],
        mask_roi_extractor=roi_extractor,
        mask_head=dict(num_convs=2, in_channels=channels, conv_out_channels=channels),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=64)),
        rpn_proposal=dict(nms_pre=300, max_per_img=150),
        rcnn=[
            {**stage, 'sampler': {**stage['sampler'], 'num': 64}}
            for stage in _base_.model.train_cfg.rcnn
        ],
    ),
    test_cfg=dict(rpn=dict(nms_pre=300, max_per_img=100)),
)
