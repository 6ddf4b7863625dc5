_base_ = '../default_runtime.py'
default_scope = 'mmpretrain'
custom_imports = dict(imports=['mmdwnet', 'mmdwnet.datasets.imagenet_zip'])

default_hooks = dict(
    logger=dict(interval=100),
    visualization=dict(type='VisualizationHook', enable=False),
)
visualizer = dict(type='UniversalVisualizer', vis_backends=_base_.vis_backends)
tta_model = dict(type='AverageClsScoreTTA')
