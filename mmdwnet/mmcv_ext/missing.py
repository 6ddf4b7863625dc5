"""What stands in for an operator that nobody replaced."""

from collections.abc import Callable
from typing import Any, NoReturn

from mmdwnet.errors import UserError

HOW_TO_COMPILE = (
    'install an mmcv with compiled operators (a wheel built for your version of torch, or built '
    'from its sources with MMCV_WITH_OPS=1: '
    'https://mmcv.readthedocs.io/en/latest/get_started/build.html)'
)


def missing_operator(name: str) -> Callable[..., NoReturn]:
    """Return a stand-in for an operator that is missing: mmcv asks for all when it is imported."""
    if name.startswith('_'):
        raise AttributeError(f'module mmcv._ext has no attribute {name!r}')

    def operator(*args: Any, **kwargs: Any) -> NoReturn:
        raise UserError(
            f'mmcv operator {name!r} was called, but this mmcv lacks compiled operators, and '
            'mmdwnet replaces only those that mmdet, mmseg and mmpretrain use: '
            f'{HOW_TO_COMPILE}.'
        )

    operator.__name__ = name
    return operator
