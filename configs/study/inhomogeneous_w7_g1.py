_base_ = './static_w7.py'
study = dict(
    mixer='inhomogeneous convolution',
    shared_by_positions='none',
    shared_by_channels='all',
    dynamic='per position',
)
model = dict(backbone=dict(mixer=dict(type='inhomogeneous', groups=1)))
