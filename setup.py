"""Installs mmdwnet with the requirements listed in `requirements/`."""

import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent


class BuildWithConfigs(build_py):
    """Puts configs, metafiles and tools into the package, where OpenMMLab's libraries have theirs.

    A built package has them in `mmdwnet/.mim`; an editable installation uses the checkout's.
    """

    def run(self) -> None:
        """Builds the package."""
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / 'mmdwnet' / '.mim'
        shutil.rmtree(target, ignore_errors=True)  # an earlier build's, with what is gone since
        for folder in ('configs', 'tools'):
            ignored = shutil.ignore_patterns('__pycache__')
            shutil.copytree(ROOT / folder, target / folder, ignore=ignored)
        shutil.copy(ROOT / 'model-index.yml', target)


def requirements(name: str) -> list[str]:
    """Returns the lines of `requirements/NAME.txt` that are not comments."""
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines()
    return [line for line in lines if line and not line.startswith('#')]


def version() -> str:
    """Returns `__version__` without importing the package, which needs torch."""
    scope: dict[str, str] = {}
    exec((ROOT / 'mmdwnet' / 'version.py').read_text(), scope)
    return scope['__version__']


setup(
    name='mmdwnet',
    version=version(),
    description='DWNet backbones, of (dynamic) depth-wise convolution, for OpenMMLab',
    long_description=(ROOT / 'README.md').read_text(),
    long_description_content_type='text/markdown',
    license='MIT',
    python_requires='>=3.10',
    packages=find_packages(include=['mmdwnet', 'mmdwnet.*']),
    cmdclass={'build_py': BuildWithConfigs},
    install_requires=requirements('runtime') + requirements('mm'),
    extras_require={
        'tests': requirements('tests'),
        'optional': requirements('optional'),
    },
)
