_base_ = './attention_w7.py'
study = dict(window=5)
nano_windows = [dict(window_size=window_size) for window_size in (5, 5, 4, 2)]
tiny_windows = [dict(window_size=window_size) for window_size in (5, 5, 5, 5)]
model = dict(backbone=dict(stage_cfgs=nano_windows))
tiny = dict(model=dict(backbone=dict(stage_cfgs=tiny_windows)))
