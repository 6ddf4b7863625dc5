_base_ = './static_w7.py'
study = dict(window=5)
model = dict(backbone=dict(window_size=5))
