_base_ = './dwnet_tiny.py'
model = dict(backbone=dict(mixer='inhomogeneous'))
