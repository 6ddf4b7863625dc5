"""How parameters are updated."""

from .guarded import GuardedOptimWrapper

__all__ = ['GuardedOptimWrapper']
