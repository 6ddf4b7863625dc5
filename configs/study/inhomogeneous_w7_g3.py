_base_ = './static_w7.py'
study = dict(
    mixer='inhomogeneous convolution',
    shared_by_positions='none',
    shared_by_channels='8, 16, 32, 64',
    dynamic='per position',
)
model = dict(backbone=dict(mixer=dict(type='inhomogeneous', groups=3)))
tiny = dict(model=dict(backbone=dict(mixer=dict(groups=12))))
