"""Report on an environment: what is in it, what would fail, and what to do about it.

    python -m mmdwnet.doctor

prints what belongs into a report of a fault. The exit code is 0 if nothing would fail, else 1.
Environments are broken in all ways, so this file needs only Python: everything else is imported
where it is examined, and what needs something that does not work is not examined.
"""

import platform
import re
import subprocess
import sys
import sysconfig
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires
from importlib.util import find_spec
from io import StringIO
from typing import Any

from . import mmcv_ext
from .cli.families import PROVIDERS, check_families, installed
from .errors import UserError
from .mmcv_ext.missing import HOW_TO_COMPILE
from .version import __version__

_TORCH = ('torch', 'torchvision')  # whose versions must fit each other


class Report:
    """What was found, printed at once: the next import may be the end of the process."""

    def __init__(self) -> None:
        self.working: set[str] = set()
        self.faults: list[str] = []
        self.notes: list[str] = []

    def tell(self, name: str, found: str) -> None:
        """Print a line."""
        print(f'{name:<14} {found}')

    def examine(
        self,
        name: str,
        look: Callable[[], str | None],
        what_to_do: str,
        shown: str = '',
        needs: tuple[str, ...] = (),
    ) -> bool:
        """Print a line about something that works, or else note the fault.

        Args:
            name: Its name, with which the line begins.
            look: Returns what to print if it works. What it raises is the fault.
            what_to_do: About a fault that is not a UserError, which says it itself.
            shown: What to print in any case.
            needs: Names of what must work, or this is not examined.

        Returns:
            Whether it works.
        """
        print(f'{name:<14} {shown}', end=' ' if shown else '', flush=True)
        if not self.working.issuperset(needs):
            print('(not examined)')
            return False
        try:
            with (
                warnings.catch_warnings(),
                redirect_stdout(StringIO()),
                redirect_stderr(StringIO()),
            ):
                warnings.simplefilter('ignore')
                found = look() or 'ok'
        except UserError as error:
            self.faults.append(str(error))
        except Exception as error:
            reason = (str(error).strip() or 'no message').splitlines()[0].rstrip('.:')
            self.faults.append(f'{name}: {type(error).__name__}: {reason}: {what_to_do}')
        else:
            self.working.add(name)
            print(found)
            return True
        print(f'FAILS, see {len(self.faults)}')
        return False

    def end(self) -> None:
        """Print what would fail, and what to do."""
        print('\nWould fail, with what to do:' if self.faults else '\nNothing would fail.')
        for number, fault in enumerate(self.faults, 1):
            print(f'{number}. {fault}')
        for note in self.notes:
            print(f'Note: {note}')


def main() -> int:
    """Examine this environment and print the report.

    Returns:
        The exit code: 0, or 1 if something would fail.
    """
    report = Report()
    report.tell('system', platform.platform())
    report.tell('python', platform.python_version())
    report.tell('mmdwnet', __version__)
    _examine_requirements(report)
    _examine_gpus(report)  # before others ask torch for them, as it warns once
    report.examine('torch.compile', try_compiler, 'install g++', needs=_TORCH)
    _examine_openmmlab(report)
    _examine_data(report)
    report.end()
    return int(bool(report.faults))


def _examine_requirements(report: Report) -> None:
    """Examine what mmdwnet cannot do without."""
    try:
        given = [text for text in requires('mmdwnet') or () if 'extra ==' not in text]
    except PackageNotFoundError:
        given = ['numpy', *_TORCH]
        report.faults.append(
            'mmdwnet is not installed, and found only from this folder or by PYTHONPATH: '
            "pip install --editable '.[openmmlab]' in its checkout"
        )
    for requirement in given:
        name, _, least = requirement.partition('>=')
        alone = name not in _TORCH
        together = [requirement] if alone else [text for text in given if text.startswith(_TORCH)]
        repair = f'pip install --upgrade {" ".join(map(repr, together))}'
        needs = ('torch',) if name == 'torchvision' else ()
        _examine_package(report, name, repair, needs, least)


def _examine_openmmlab(report: Report) -> None:
    """Examine OpenMMLab's packages and timm."""
    distributions = [by for package in PROVIDERS for by in installed(package)]
    originals = distributions and not any(by.startswith('onedl-') for by in distributions)
    file = 'mm_original.txt' if originals else 'mm.txt'
    repair = f'pip install --upgrade -r requirements/{file}'
    report.examine('families', check_families, 'pip check')
    opencv = ('cv2',) if find_spec('cv2') else ()
    for name in opencv:
        repair_cv2 = 'apt-get install libgl1 libglib2.0-0, or use opencv-python-headless'
        _examine_package(report, name, repair_cv2)
    _examine_package(report, 'mmengine', repair, (*_TORCH, 'families', *opencv))
    _examine_package(report, 'mmcv', repair, ('mmengine',))
    report.examine(
        'operators',
        partial(_try_operators, report),
        f'remove this mmcv, then {repair}, or {HOW_TO_COMPILE}',
        needs=('mmcv',),
    )
    for library in ('mmpretrain', 'mmdet', 'mmseg'):
        _examine_package(report, library, repair, ('operators',))
    if find_spec('timm'):
        _examine_package(report, 'timm', 'pip install --upgrade timm', _TORCH)
    else:
        report.tell('timm', 'not installed; only mmdwnet.timm needs it')


def _examine_package(
    report: Report, name: str, repair: str, needs: tuple[str, ...] = (), least: str = ''
) -> None:
    """Examine a package: the distributions that brought it, their versions, and its import."""
    versions = installed(name)

    def look() -> None:
        for version in versions.values():
            if _numbers(version) < _numbers(least):
                raise UserError(f'mmdwnet needs {name} {least}, and this is {version}: {repair}')
        import_module(name)
        if 'operators' in needs:
            import_module(f'{name}.apis')  # which imports all of a library

    shown = (f'{number} ({by})' if by != name else number for by, number in versions.items())
    report.examine(name, look, repair, ', '.join(shown), needs)


def _numbers(version: str) -> list[int]:
    """Return a version's numbers, for comparison."""
    return [int(number) for number in re.findall(r'\d+', version.partition('+')[0])[:3]]


def _try_operators(report: Report) -> str:
    """Call an operator of mmcv on each device; return whose operators they are."""
    import torch

    operators = import_module('mmcv.ops')
    for device in ('cpu', *(f'cuda:{gpu}' for gpu in range(torch.cuda.device_count()))):
        box = torch.tensor([[0.0, 0.0, 1.0, 1.0]], device=device)
        operators.nms(box, box[:, 2], 0.5)
    spec = import_module('mmcv._ext').__spec__
    if spec is None or spec.origin != mmcv_ext.__name__:
        return f"mmcv's own, compiled by {operators.get_compiler_version()}"
    report.notes.append(
        'this mmcv has no compiled operators; mmdwnet stands in for those that mmpretrain, mmdet '
        f'and mmseg call. For others, {HOW_TO_COMPILE}.'
    )
    return 'those of mmdwnet.mmcv_ext'


def _examine_gpus(report: Report) -> None:
    """Examine the GPUs that torch sees, and whether the Triton kernels compile for them."""
    if not report.examine('GPUs', _count_gpus, 'update the driver of the GPU', needs=_TORCH):
        return
    import torch

    for gpu in range(torch.cuda.device_count()):
        report.examine(
            f'GPU {gpu}',
            partial(run_kernels, f'cuda:{gpu}'),
            'without its Triton kernels, mmdwnet is slower there: pip install --upgrade torch '
            "triton, and install a C compiler and Python's headers (gcc, python3-dev)",
            torch.cuda.get_device_name(gpu),
        )


def _count_gpus() -> str:
    """Return how many GPUs torch sees."""
    import torch

    with warnings.catch_warnings():
        # Such as one that the driver is too old, after which torch goes on without GPUs.
        warnings.filterwarnings('error', 'CUDA initialization')
        count = torch.cuda.device_count() if torch.cuda.is_available() else 'none'
    toolkit = torch.version.cuda or torch.version.hip
    return f'{count}; torch is built for {f"CUDA {toolkit}" if toolkit else "CPUs"}'


def run_kernels(device: str, k: int = 7) -> str:
    """Run each Triton kernel on a device, with kernels of k x k; raise what Triton raises."""
    import torch

    from . import ops

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, device=device, requires_grad=True)

    x = ops.depthwise_conv2d(random(1, 4, 2, 2), random(4, k, k), backend='triton')
    x = ops.inhomogeneous_depthwise_conv2d(x, random(1, 2, k, k, 2, 2), backend='triton')
    x.sum().backward()
    return 'runs the Triton kernels'


def try_compiler() -> str:
    """Compile what `torch.compile` includes on the CPU; return by which compiler."""
    from .deploy.compiling import check_cpp_compiler

    compiler = check_cpp_compiler()
    headers = sysconfig.get_path('include', 'posix_prefix')
    done = subprocess.run(
        [compiler, '-fsyntax-only', '-fopenmp', f'-I{headers}', '-xc++', '-'],
        input='#include <Python.h>\n#include <omp.h>\n',
        capture_output=True,
        text=True,
    )
    if done.returncode:
        reason = done.stderr.partition('\n')[0]
        raise UserError(
            f'torch.compile fails on the CPU, as {compiler} does ({reason}): install the headers '
            'of Python (python3-dev) and OpenMP, or name another compiler in the variable CXX'
        )
    return f'works on the CPU with {compiler}'


def _examine_data(report: Report) -> None:
    """Examine the data that the configs name: those of the first model of each metafile."""
    found: dict[str, Any] = {}
    look = partial(_read_configs, found)
    if not report.examine('configs', look, 'install mmdwnet again', needs=('operators',)):
        return
    from .cli import checks

    for folder, cfg in found.items():
        report.examine(
            folder,
            partial(checks.check_data, cfg, 'train', 'val'),
            'tools/train.py CONFIG --check --traceback tells more',
            cfg.train_dataloader.dataset.data_root,
            (cfg.default_scope,),
        )


def _read_configs(found: dict[str, Any]) -> str:
    """Read a config of each folder; return how many models there are."""
    from .apis import hub

    for metafile in hub.metafiles(hub.root()):
        name = hub.read(metafile)['Models'][0]['Name']
        found[f'configs/{metafile.parent.name}'] = hub.get_config(name)
    return f'{len(hub.list_models())} models'


if __name__ == '__main__':
    sys.exit(main())
