# The study's recipe, with a static depth-wise convolution of 7 x 7; the other configs of this
# folder change the mixing of positions alone. `python tools/study.py` makes the data and runs all.
_base_ = '../cls/dwnet_tiny.py'

# At 56 x 56 pixels, the stages have maps of 14, 7, 4 and 2 positions a side. As in the paper,
# windows of 7 tile the first ones. Two blocks in each of these, so that every other one can shift
# its windows.
size = 56
arch = dict(embed_dims=24, depths=(2, 2, 1, 1))
num_classes = 10
# The learning rate and the batch are those of tools/finetune.py for nano classifiers.
batch_size = 32
lr = 3e-3
max_epochs = 3

# The mixer's row in the study's table.
study = dict(
    mixer='static convolution',
    window=7,
    shared_by_positions='all',
    shared_by_channels='none',
    dynamic='no',
)
# What `tools/study.py --imagenet` changes, which takes all else from configs/cls/dwnet_tiny.py.
tiny = dict(
    model=dict(
        backbone=dict(arch=dict(embed_dims=96, depths=(2, 2, 6, 2)), drop_path_rate=0.2),
    ),
)
model = dict(
    data_preprocessor=dict(num_classes=num_classes),
    backbone=dict(arch=dict(_delete_=True, **arch), window_size=7, drop_path_rate=0.0),
    head=dict(num_classes=num_classes, in_channels=8 * arch['embed_dims']),
    # Mixup and CutMix, which blend images, help in long trainings only.
    train_cfg=None,
)

load = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(size, size))]
train_pipeline = [*load, dict(type='RandomFlip', prob=0.5), dict(type='PackInputs')]
test_pipeline = [*load, dict(type='PackInputs')]
tta_pipeline = None  # the base's is for images of another size

# Pictures this small are read faster than workers would hand them over.
loader = dict(batch_size=batch_size, num_workers=0, collate_fn=dict(type='default_collate'))
dataset = dict(type='CustomDataset', data_root='data/study/fashion/folders')
train_dataloader = dict(
    _delete_=True,
    **loader,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(**dataset, data_prefix='train', pipeline=train_pipeline),
)
val_dataloader = dict(
    _delete_=True,
    **loader,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**dataset, data_prefix='val', pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = dict(topk=(1,))
test_evaluator = val_evaluator

# Validated once, at the end: nothing is chosen by the pictures that it is measured on.
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=lr))
# A tenth of the training to rise, and cosine to a hundredth.
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, end=0.1 * max_epochs, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        eta_min_ratio=0.01,
        T_max=max_epochs,
        end=max_epochs,
        convert_to_iter_based=True,
    ),
]
auto_scale_lr = dict(base_batch_size=batch_size)

default_hooks = dict(logger=dict(interval=25), checkpoint=dict(max_keep_ckpts=1))
randomness = dict(seed=0)
