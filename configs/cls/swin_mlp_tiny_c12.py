_base_ = './swin_mlp_tiny_c24.py'
model = dict(backbone=dict(arch='tiny_c12'))
