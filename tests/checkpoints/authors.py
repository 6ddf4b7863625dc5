"""Files like those that the authors released, and others that were made to do harm."""

import copyreg
import functools
import importlib
import io
import operator
import os
import pathlib
import pickle
import shutil
import subprocess
import sys
import tarfile
import timeit
import types
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


@contextmanager
def yacs() -> Iterator[type]:
    """Gives yacs's class of configs for as long as the context lasts, as on the authors' machines.

    It is a dict with a state, as there.
    """

    class CfgNode(dict):
        def __init__(self, items: Mapping) -> None:
            super().__init__(items)
            self.__dict__['__immutable__'] = True

    CfgNode.__module__, CfgNode.__qualname__ = 'yacs.config', 'CfgNode'
    modules = {'yacs': types.ModuleType('yacs'), 'yacs.config': types.ModuleType('yacs.config')}
    modules['yacs.config'].CfgNode = CfgNode
    sys.modules.update(modules)
    try:
        yield CfgNode
    finally:
        for name in modules:
            del sys.modules[name]


def classifier_file(
    path: Path, weights: Mapping[str, Tensor], name: object = 'dwnet', **extra: object
) -> Path:
    """Writes a classifier's weights as the authors' training did, with `name` in its config."""
    with yacs() as CfgNode:  # noqa: N806
        torch.save(
            {
                'model': OrderedDict((f'module.{key}', value) for key, value in weights.items()),
                'optimizer': {
                    'state': {0: {'step': 375299, 'exp_avg': torch.ones(96, 3, 4, 4)}},
                    'param_groups': [{'lr': 1e-5, 'betas': (0.9, 0.999), 'params': [0]}],
                },
                'lr_scheduler': {'base_values': [1e-3], 'warmup_t': 25020},
                'max_accuracy': np.float64(81.2),
                'epoch': 299,
                'config': CfgNode({'MODEL': CfgNode({'NAME': name, 'DEPTHS': [2, 2, 6, 2]})}),
                **extra,
            },
            path,
        )
    return path


def dense_file(path: Path, weights: Mapping[str, Tensor]) -> Path:
    """Writes a detector's or segmentor's weights as the authors' training did."""
    torch.save(
        {
            'meta': {'epoch': 36, 'CLASSES': ('person',), 'seed': np.random.RandomState(0)},
            'state_dict': OrderedDict((f'module.{key}', value) for key, value in weights.items()),
            'optimizer': {'state': {}, 'param_groups': []},
        },
        path,
        _use_new_zipfile_serialization=False,  # as mmcv's publishing did
    )
    return path


class _Call:
    """Pickles as a call."""

    def __init__(self, function: Callable, *args: object) -> None:
        self.function, self.args = function, args

    def __call__(self) -> None:
        raise AssertionError('pickle wants to see something that can be called')

    def __reduce__(self) -> tuple:
        return self.function, self.args


class _TensorWith:
    """Pickles as a tensor with something in the place of its hooks."""

    def __init__(self, hooks: object) -> None:
        self.hooks = hooks

    def __reduce__(self) -> tuple:
        return torch._utils._rebuild_tensor_v2, (
            torch.ones(3).storage(),
            *(0, (3,), (1,), False, self.hooks),
        )


def opcodes(thing: object) -> bytes:
    """Returns the opcodes that make a thing, fit for the middle of any pickle."""
    file = io.BytesIO()
    pickler = pickle.Pickler(file, protocol=2)
    pickler.fast = True  # without memo, which the pickle around may use
    pickler.dump(thing)
    return file.getvalue()[2:-1]


PLACE = 'PLACE_OF_THE_PAYLOAD'
PLACE_OPCODES = b'X' + len(PLACE).to_bytes(4, 'little') + PLACE.encode()
_EXTENSION = 240


def _calls(trace: Path) -> dict[str, bytes]:
    """Opcodes that leave a file at `trace` when they are run."""
    path, command = str(trace), f'touch {trace}'
    code = f'open({path!r}, "w").close()'
    system = _Call(getattr, _Call(importlib.import_module, 'os'), 'system')
    text = opcodes(command)
    return {
        'system': opcodes(_Call(os.system, command)),
        'subprocess': opcodes(_Call(subprocess.check_call, ['touch', path])),
        'eval': opcodes(_Call(eval, code)),
        'exec': opcodes(_Call(exec, code)),
        'method': opcodes(_Call(pathlib.Path.touch, trace)),
        'copy': opcodes(_Call(shutil.copyfile, __file__, path)),
        'timeit': opcodes(_Call(timeit.timeit, code, 'pass', timeit.default_timer, 1)),
        'torch': opcodes(_Call(torch.save, 1, path)),
        'numpy': opcodes(_Call(np.savetxt, path, [1])),
        'getattr': opcodes(_Call(system, command)),
        'partial': opcodes(_Call(_Call(functools.partial, os.system, command))),
        'methodcaller': opcodes(
            _Call(
                _Call(operator.methodcaller, 'system', command),
                _Call(importlib.import_module, 'os'),
            )
        ),
        'lazy': opcodes(_Call(list, _Call(map, os.system, [command]))),
        'nested pickle': opcodes(
            _Call(pickle.loads, b'\x80\x02' + opcodes(_Call(os.system, command)) + b'.')
        ),
        'in arguments': opcodes(_Call(OrderedDict, [('a', _Call(os.system, command))])),
        'INST': b'(%sios\nsystem\n' % text,
        'OBJ': b'(cio\nFileIO\n%s%so' % (opcodes(path), opcodes('w')),
        'STACK_GLOBAL': b'%s%s\x93(%stR' % (opcodes('os'), opcodes('system'), text),
        'EXT1': b'\x82%c(%stR' % (_EXTENSION, text),
        'in a state': b'ccollections\nOrderedDict\n)R}U\x01a%ssb' % opcodes(_Call(eval, code)),
    }


CALLS = tuple(_calls(Path('x')))
PLACES = (
    'in the weights',
    'as a key',
    'in the config',
    'in a tensor',
    'in a persistent id',
    'in a legacy file',
    "in a legacy file's header",
    "in a legacy file's list of storages",
    'in a tar archive',
)
KINDS = CALLS + PLACES


def harmful_file(kind: str, path: Path, weights: Mapping[str, Tensor], trace: Path) -> Path:
    """Writes weights as the authors did, with something that would make the file `trace`."""
    calls = _calls(trace)
    call = calls.get(kind, calls['eval'])
    string = PLACE_OPCODES
    if kind == 'in a tar archive':
        with tarfile.open(path, 'w') as archive:
            for name in ('storages', 'tensors', 'pickle'):
                member = tarfile.TarInfo(name)
                member.size = len(content := b'\x80\x02' + call + b'.')
                archive.addfile(member, io.BytesIO(content))
    elif 'legacy' in kind:
        file = io.BytesIO()
        held = {**weights, 'extra': PLACE}
        torch.save({'model': held}, file, _use_new_zipfile_serialization=False)
        content = file.getvalue()
        if 'header' in kind:
            first = content.index(b'protocol_version')
            start = content.rindex(b'\x80\x02', 0, first) + 2
            content = content[:start] + call + b'0' + content[start:]
        elif 'storages' in kind:
            start = content.index(b'.\x80\x02]', content.index(string)) + 3
            content = content[:start] + call + b'0' + content[start:]
        else:
            content = content.replace(string, call, 1)
        path.write_bytes(content)
    else:
        extra: dict[str, object] = {'extra': PLACE}
        if kind == 'in the config':
            extra = {'name': PLACE}
        elif kind == 'as a key':
            extra = {PLACE: 1}
        elif kind == 'in the weights':
            weights, extra = {**weights, 'extra': PLACE}, {}
        elif kind == 'in a tensor':
            extra = {'extra': _TensorWith(PLACE)}
        elif kind == 'in a persistent id':
            string, extra = b'X\x03\x00\x00\x00cpu', {}
        classifier_file(path, weights, **extra)
        rewrite(path, lambda content: content.replace(string, call, 1))
    return path


def rewrite(path: Path, change: Callable[[bytes], bytes], compression: int = 0) -> None:
    """Changes the pickle in a file that torch wrote."""
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, 'w', compression) as archive:
        for name, content in members.items():
            changed = change(content) if name.endswith('data.pkl') else content
            assert changed != content or not name.endswith('data.pkl') or compression
            archive.writestr(name, changed)


@contextmanager
def extension() -> Iterator[None]:
    """Registers the function that opcode EXT1 calls here, as a careless library might."""
    copyreg.add_extension('posix', 'system', _EXTENSION)
    try:
        yield
    finally:
        copyreg.remove_extension('posix', 'system', _EXTENSION)
