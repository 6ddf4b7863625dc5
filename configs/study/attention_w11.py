_base_ = './attention_w7.py'
study = dict(window=11)
nano_windows = [dict(window_size=window_size) for window_size in (11, 7, 4, 2)]
tiny_windows = [dict(window_size=window_size) for window_size in (11, 11, 11, 7)]
model = dict(backbone=dict(stage_cfgs=nano_windows))
tiny = dict(model=dict(backbone=dict(stage_cfgs=tiny_windows)))
