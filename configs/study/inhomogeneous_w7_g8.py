_base_ = './inhomogeneous_w7_g1.py'
study = dict(shared_by_channels='3, 6, 12, 24')
model = dict(backbone=dict(mixer=dict(groups=8)))
tiny = dict(model=dict(backbone=dict(mixer=dict(groups=32))))
