_base_ = './static_w7.py'
study = dict(mixer='dynamic convolution', dynamic='per image')
model = dict(backbone=dict(mixer='dynamic'))
