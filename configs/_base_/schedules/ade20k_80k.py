_base_ = './ade20k_160k.py'
max_iters = 80000

train_cfg = dict(max_iters=max_iters)
param_scheduler = [
    _base_.warmup,
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=1500, end=max_iters),
]
