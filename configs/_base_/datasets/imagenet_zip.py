# ImageNet in the archives train.zip and val.zip of data/imagenet, beside train_map.txt and
# val_map.txt, whose lines are path-inside-zip<TAB>label. All else is as in imagenet.py.
# To keep images in memory, cache='full' in a dataset; or a share of them in each process:
# train_dataloader = dict(dataset=dict(cache='part'), sampler=dict(type='ShareSampler'))
_base_ = './imagenet.py'

train_dataloader = dict(dataset=dict(type='ImageNetZip'))
val_dataloader = dict(dataset=dict(type='ImageNetZip'))
test_dataloader = val_dataloader
