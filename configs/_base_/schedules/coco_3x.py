_base_ = './coco_1x.py'
max_epochs = 36

train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    _base_.warmup,
    dict(type='MultiStepLR', begin=0, end=max_epochs, milestones=[27, 33], gamma=0.1),
]
