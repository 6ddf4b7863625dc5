_base_ = './static_w7.py'
study = dict(
    mixer='inhomogeneous convolution',
    shared_by_positions='none',
    shared_by_channels='3, 6, 12, 24',
    dynamic='per position',
)
model = dict(backbone=dict(mixer=dict(type='inhomogeneous', groups=8)))
tiny = dict(model=dict(backbone=dict(mixer=dict(groups=32))))
