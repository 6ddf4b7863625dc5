_base_ = './static_w7.py'
study = dict(window=9)
model = dict(backbone=dict(window_size=9))
