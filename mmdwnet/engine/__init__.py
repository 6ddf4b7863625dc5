"""What mmengine's Runner runs: the optimizer wrapper, hooks, samplers."""

from .fuse_hook import FuseHook
from .optim_wrapper import GuardedOptimWrapper
from .sampler import ShareSampler

__all__ = ['FuseHook', 'GuardedOptimWrapper', 'ShareSampler']
