"""Installs mmdwnet with the requirements listed in `requirements/`."""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent


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
    install_requires=requirements('runtime') + requirements('mm'),
    extras_require={
        'tests': requirements('tests'),
        'optional': requirements('optional'),
    },
)
