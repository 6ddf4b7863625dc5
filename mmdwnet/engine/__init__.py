"""What mmengine's Runner runs: the optimizer wrapper, loops, hooks, samplers."""

from .checkpoint_hook import ResumableCheckpointHook
from .early_stopping import ResumableEarlyStoppingHook
from .fuse_hook import FuseHook
from .layer_decay import LayerDecayOptimWrapperConstructor
from .logger_hook import GuardedLoggerHook
from .loops import ResumableEpochBasedTrainLoop, ResumableIterBasedTrainLoop
from .optim_wrapper import GuardedOptimWrapper
from .progress import ProgressBarHook
from .sampler import ShareSampler

__all__ = [
    'FuseHook',
    'GuardedLoggerHook',
    'GuardedOptimWrapper',
    'LayerDecayOptimWrapperConstructor',
    'ProgressBarHook',
    'ResumableCheckpointHook',
    'ResumableEarlyStoppingHook',
    'ResumableEpochBasedTrainLoop',
    'ResumableIterBasedTrainLoop',
    'ShareSampler',
]
