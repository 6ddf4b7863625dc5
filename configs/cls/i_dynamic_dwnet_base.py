_base_ = './dwnet_base.py'
model = dict(backbone=dict(mixer='inhomogeneous'))
