_base_ = './attention_w7.py'
study = dict(window=9)
nano_windows = [dict(window_size=window_size) for window_size in (9, 7, 4, 2)]
tiny_windows = [dict(window_size=window_size) for window_size in (9, 9, 9, 7)]
model = dict(backbone=dict(stage_cfgs=nano_windows))
tiny = dict(model=dict(backbone=dict(stage_cfgs=tiny_windows)))
