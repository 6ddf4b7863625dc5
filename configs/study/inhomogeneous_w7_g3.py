_base_ = './inhomogeneous_w7_g1.py'
study = dict(shared_by_channels='8, 16, 32, 64')
model = dict(backbone=dict(mixer=dict(groups=3)))
tiny = dict(model=dict(backbone=dict(mixer=dict(groups=12))))
