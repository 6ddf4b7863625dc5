"""A stand-in for `mmcv._ext`, the compiled operators that PyPI's mmcv comes without.

`install` makes `mmcv._ext` importable where it is missing, and only there. How: the import system
asks a finder of ours first; that finder asks all others, and answers itself only if none of them
knows a compiled extension. So it does not matter what is imported in which order afterwards, and
nothing of mmcv is changed.
"""

import functools
import importlib.abc
import importlib.machinery
import multiprocessing
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from mmengine.logging import print_log

_EXT = 'mmcv._ext'


class _Loader(importlib.abc.Loader):
    """Fills an empty module with the stand-in's operators."""

    def exec_module(self, module: ModuleType) -> None:
        from . import operators  # only now: torchvision need not be imported before it is used

        for name in operators.__all__:
            setattr(module, name, getattr(operators, name))
        module.__getattr__ = operators.missing_operator  # type: ignore[method-assign]
        _import_in_children()
        _log_once(f'mmcv came without compiled operators: {operators.get_compiler_version()}')


class _Finder(importlib.abc.MetaPathFinder):
    """Finds `mmcv._ext`: the compiled one where there is one, else the stand-in."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != _EXT:
            return None
        for finder in sys.meta_path:
            if finder is not self and (spec := finder.find_spec(fullname, path, target)):
                _log_once(f"mmcv's own compiled operators are used: {spec.origin}")
                return spec
        return importlib.machinery.ModuleSpec(fullname, _Loader(), origin='mmdwnet.mmcv_ext')


_FINDER = _Finder()


def install() -> None:
    """Make `mmcv._ext` importable; a compiled one, where there is one, is left alone.

    Which of the two is used is logged once, in the main process, when mmcv first asks for it.
    Calling it again changes nothing.
    """
    if _FINDER in sys.meta_path:
        return
    # In front, as the last finder is not asked where a compiled extension exists: it could not say.
    sys.meta_path.insert(0, _FINDER)
    if _EXT in sys.modules:
        _log_once(f"mmcv's own compiled operators are used: {sys.modules[_EXT].__file__}")


def _import_in_children() -> None:
    """Have child processes import mmdwnet before they unpickle what the parent sends them.

    A DataLoader worker that is spawned unpickles its data set in a new interpreter. An mmdet data
    set imports `mmcv.ops`, while nothing there has imported mmdwnet unless the user's script does
    so outside `if __name__ == '__main__'`. But every process object carries a copy of its parent's
    `_config`, and that is unpickled before the arguments: a function in it, pickled by its name,
    imports this package. The attribute is private, though as old as multiprocessing; there is no
    public way for spawned children, and without the attribute only this convenience is lost.
    """
    config = getattr(multiprocessing.current_process(), '_config', None)
    if isinstance(config, dict):
        config[__name__] = install


@functools.cache
def _log_once(message: str) -> None:
    # A spawned child knows its name before it unpickles anything, its parent only afterwards.
    is_main = multiprocessing.current_process().name == 'MainProcess'
    if is_main and os.environ.get('RANK', '0') == '0':
        print_log(message, logger='current')
