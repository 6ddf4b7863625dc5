"""Registers what mmdwnet has with OpenMMLab, as soon as OpenMMLab is there.

`import mmdwnet` imports nothing of OpenMMLab, so that `mmdwnet.ops` and `mmdwnet.models` need torch
alone and a detector does not wait for mmpretrain. What has to be registered with a library is
registered right after that library is imported, in whatever order the two are.
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
    """Register with the libraries that are imported, and with the others once they are."""
    for library, then in _REGISTER.items():
        if library in sys.modules:
            then()
    sys.meta_path.insert(0, _Finder())


def _register_classes() -> None:
    """Register backbones, optimizer wrapper, hooks, samplers and `dwnet://` with mmengine."""
    if find_spec('mmcv'):
        from . import backbones, checkpoints, engine  # noqa: F401


def _register_models() -> None:
    """Register the names of the classifiers with mmpretrain."""
    from .apis import hub

    with suppress(UserError):  # without its configs, the package is of use all the same
        hub.register()


_REGISTER: dict[str, Callable[[], None]] = {
    'mmengine': _register_classes,
    'mmpretrain': _register_models,
}


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the libraries as all other finders do, and has their loaders register afterwards."""

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
    """Loads a library, hands it over to its own loader, and registers."""

    def __init__(self, loader: importlib.abc.Loader) -> None:
        self._loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        _REGISTER[module.__name__]()
