"""What mmengine's Runner runs: the optimizer wrapper, loops, hooks, samplers."""

from .checkpoint_hook import ResumableCheckpointHook
from .fuse_hook import FuseHook
from .layer_decay import LayerDecayOptimWrapperConstructor
from .logger_hook import GuardedLoggerHook
from .loops import ResumableEpochBasedTrainLoop, ResumableIterBasedTrainLoop
from .optim_wrapper import GuardedOptimWrapper
from .sampler import ShareSampler

__all__ = [
    'FuseHook',
    'GuardedLoggerHook',
    'GuardedOptimWrapper',
    'LayerDecayOptimWrapperConstructor',
    'ResumableCheckpointHook',
    'ResumableEpochBasedTrainLoop',
    'ResumableIterBasedTrainLoop',
    'ShareSampler',
]
