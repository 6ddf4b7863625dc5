# ImageNet in data/imagenet/train.zip and val.zip, with train_map.txt and val_map.txt, whose lines
# are path-inside-zip<TAB>label. Otherwise the same as imagenet.py.
# To keep images in memory, set cache='full' in a dataset, or keep a share in each process:
# train_dataloader = dict(dataset=dict(cache='part'), sampler=dict(type='ShareSampler'))
_base_ = './imagenet.py'

train_dataloader = dict(dataset=dict(type='ImageNetZip'))
val_dataloader = dict(dataset=dict(type='ImageNetZip'))
test_dataloader = val_dataloader
