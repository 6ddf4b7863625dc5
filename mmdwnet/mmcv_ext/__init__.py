"""A stand-in for `mmcv._ext`, the compiled operators that PyPI's mmcv lacks.

`install` makes `mmcv._ext` importable where it is missing, and only there: the import system asks
our finder first, which asks all others and answers itself only if none of them finds a compiled
extension. So the order of later imports does not matter, and nothing of mmcv is changed.
"""

import functools
import importlib.abc
import importlib.machinery
import multiprocessing
import os
import sys
from collections.abc import Sequence
from types import ModuleType

_EXT = 'mmcv._ext'


class _Loader(importlib.abc.Loader):
    """Fill an empty module with the stand-in's operators."""

    def exec_module(self, module: ModuleType) -> None:
        from . import missing, operators  # imports torchvision, which takes time

        for name in operators.__all__:
            setattr(module, name, getattr(operators, name))
        module.__getattr__ = missing.missing_operator  # type: ignore[method-assign]
        _import_in_children()
        _log_once(f'mmcv has no compiled operators: {operators.get_compiler_version()}')


class _Finder(importlib.abc.MetaPathFinder):
    """Find `mmcv._ext`: the compiled one where there is one, else the stand-in."""

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
    """Make `mmcv._ext` importable; a compiled one is left alone.

    This imports neither mmcv nor mmengine or torchvision, and calling it again changes nothing. The
    main process logs once which operators are used, when mmcv first asks for them.
    """
    if _FINDER in sys.meta_path:
        return
    # In front: the last finder is not asked where a compiled extension exists, and could not log.
    sys.meta_path.insert(0, _FINDER)
    if _EXT in sys.modules:
        _log_once(f"mmcv's own compiled operators are used: {sys.modules[_EXT].__file__}")


def _import_in_children() -> None:
    """Have child processes import mmdwnet before they unpickle what the parent sends them.

    A spawned DataLoader worker unpickles its data set in a new interpreter. mmdet's data sets
    import `mmcv.ops` there, and nothing has imported mmdwnet, unless the user's script does so
    outside `if __name__ == '__main__'`. But every process object carries a copy of its parent's
    `_config`, which is unpickled before the arguments: a function in it, pickled by name, imports
    this package. The attribute is private, as there is no public way for spawned children; a test
    asks for it, and without it only such scripts fail.
    """
    config = getattr(multiprocessing.current_process(), '_config', None)
    if isinstance(config, dict):
        config[__name__] = install


@functools.cache
def _log_once(message: str) -> None:
    # Not parent_process(): a spawned child knows its parent only after unpickling, its name before.
    is_main = multiprocessing.current_process().name == 'MainProcess'
    if is_main and os.environ.get('RANK', '0') == '0':
        from mmengine.logging import print_log  # mmcv has imported mmengine by now

        print_log(message, logger='current')
