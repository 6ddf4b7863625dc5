_base_ = '../default_runtime.py'
default_scope = 'mmseg'

# All training images have the same size, so searching for the fastest convolutions pays off.
env_cfg = dict(cudnn_benchmark=True)
default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=16000),
    visualization=dict(type='SegVisualizationHook'),
)
visualizer = dict(type='SegLocalVisualizer', vis_backends=_base_.vis_backends, name='visualizer')
log_processor = dict(by_epoch=False)
tta_model = dict(type='SegTTAModel')
