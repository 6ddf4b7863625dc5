"""Pictures of predictions, drawn by each library's own visualization hook."""

from pathlib import Path

from mmengine.config import Config

from mmdwnet.apis.inferencers import VISUALIZERS


def draw_into(cfg: Config, folder: str) -> None:
    """Make a config draw all test predictions into a folder."""
    # mmdet takes a relative path as relative to the work dir.
    folder = str(Path(folder).absolute())
    # Changed in place, as reading a class out of a pure-Python config would keep it from the dump.
    cfg.setdefault('visualizer', {})
    cfg.visualizer.setdefault('type', VISUALIZERS[cfg.default_scope])
    cfg.visualizer.setdefault('name', 'visualizer')
    if cfg.default_scope == 'mmpretrain':
        hook = dict(type='VisualizationHook', enable=True, interval=1, out_dir=folder)
    elif cfg.default_scope == 'mmdet':
        hook = dict(type='DetVisualizationHook', draw=True, test_out_dir=folder)
    else:
        hook = dict(type='SegVisualizationHook', draw=True)
        cfg.visualizer.update(vis_backends=[dict(type='LocalVisBackend')], save_dir=folder)
    hooks = dict(cfg.get('default_hooks') or {})
    cfg.default_hooks = {**hooks, 'visualization': {**(hooks.get('visualization') or {}), **hook}}
