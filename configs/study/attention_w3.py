_base_ = './attention_w7.py'
study = dict(window=3)
nano_windows = [dict(window_size=window_size) for window_size in (3, 3, 3, 2)]
tiny_windows = [dict(window_size=window_size) for window_size in (3, 3, 3, 3)]
model = dict(backbone=dict(stage_cfgs=nano_windows))
tiny = dict(model=dict(backbone=dict(stage_cfgs=tiny_windows)))
