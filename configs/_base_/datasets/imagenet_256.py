# ImageNet at 256 x 256; in tests, the ratio of short edge to crop is the same as at 224 x 224.
_base_ = './imagenet.py'

train_pipeline = [
    _base_.train_pipeline[0],
    {**_base_.train_pipeline[1], 'scale': 256},
    *_base_.train_pipeline[2:],
]
test_pipeline = [
    _base_.test_pipeline[0],
    {**_base_.test_pipeline[1], 'scale': int(256 / 224 * 256)},
    {**_base_.test_pipeline[2], 'crop_size': 256},
    *_base_.test_pipeline[3:],
]
tta_pipeline = [*test_pipeline[:-1], _base_.tta_pipeline[-1]]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
