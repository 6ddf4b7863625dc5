# Local attention: mmpretrain's Swin.
_base_ = './static_w7.py'
study = dict(
    mixer='local attention',
    shared_by_positions='none',
    shared_by_channels='24',
    dynamic='per pair of positions',
)
tiny = dict(
    study=dict(shared_by_channels='32'),
    model=dict(
        backbone=dict(
            arch=dict(num_heads=(3, 6, 12, 24)),
            img_size=224,
            stage_cfgs=[dict(window_size=window_size) for window_size in (7, 7, 7, 7)],
        ),
    ),
)
model = dict(
    backbone=dict(
        _delete_=True,
        type='SwinTransformer',
        arch=dict(**_base_.arch, num_heads=(1, 2, 4, 8)),
        img_size=_base_.size,
        drop_path_rate=0.0,
        # No larger than the map of the stage.
        stage_cfgs=[dict(window_size=window_size) for window_size in (7, 7, 4, 2)],
    )
)
# As in Swin's own recipe.
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys=dict(relative_position_bias_table=dict(decay_mult=0.0)))
)
