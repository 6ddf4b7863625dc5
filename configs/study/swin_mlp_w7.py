_base_ = './static_w7.py'
study = dict(mixer='Swin-MLP', shared_by_positions='windows', shared_by_channels='24')
tiny = dict(model=dict(backbone=dict(arch=dict(num_heads=(4, 8, 16, 32)), img_size=224)))
model = dict(
    backbone=dict(
        _delete_=True,
        type='SwinMLP',
        arch=dict(**_base_.arch, num_heads=(1, 2, 4, 8), window_size=7),
        img_size=_base_.size,
    )
)
