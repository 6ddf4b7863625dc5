"""What models cost: their parameters and multiply-adds, and the tables that tell them."""

from .complexity import Complexity, Cost, measure

__all__ = ['Complexity', 'Cost', 'measure']
