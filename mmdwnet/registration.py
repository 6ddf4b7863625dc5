"""Register mmdwnet's components with OpenMMLab when OpenMMLab is imported.

`import mmdwnet` does not import OpenMMLab, so that `mmdwnet.ops` and `mmdwnet.models` need only
torch, and a detector does not load mmpretrain. Components are registered with a library right after
it is imported, whether mmdwnet is imported before or after it.
"""

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.util import find_spec
from types import ModuleType

from .errors import UserError


def register() -> None:
    """Register with the libraries that are already imported, and with others on import."""
    for library, then in _REGISTER.items():
        if library in sys.modules:
            then()
    sys.meta_path.insert(0, _Finder())


def _register_classes() -> None:
    """Register backbones, optimizer wrapper, hooks, samplers and `dwnet://` with mmengine."""
    if find_spec('mmcv'):
        from . import backbones, checkpoints, engine  # noqa: F401


def _register_models() -> None:
    """Register the classifier names with mmpretrain."""
    from .apis import hub

    with suppress(UserError):  # the package is usable without its configs
        hub.register()


_REGISTER: dict[str, Callable[[], None]] = {
    'mmengine': _register_classes,
    'mmpretrain': _register_models,
}


class _Finder(importlib.abc.MetaPathFinder):
    """Find libraries with the other finders, and wrap their loaders to register afterwards."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in _REGISTER:
            return None
        specs = (f.find_spec(fullname, path, target) for f in sys.meta_path if f is not self)
        spec = next((spec for spec in specs if spec), None)
        if spec and spec.loader:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(importlib.abc.Loader):
    """Load a library with its own loader, then register."""

    def __init__(self, loader: importlib.abc.Loader) -> None:
        self._loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        _REGISTER[module.__name__]()
