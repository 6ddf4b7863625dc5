# Swin-MLP base with the recipe of DWNet base.
_base_ = './dwnet_base.py'
model = dict(backbone=dict(_delete_=True, type='SwinMLP', arch='base', drop_path_rate=0.5))
