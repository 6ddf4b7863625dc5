"""Add what `pyproject.toml` cannot say: the files that a built package has in `mmdwnet/.mim`."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent


class BuildWithConfigs(build_py):
    """Put configs, metafiles and tools into the package, where OpenMMLab's libraries have theirs.

    A built package has them in `mmdwnet/.mim`; an editable installation uses the checkout's.
    """

    def run(self) -> None:
        """Build the package."""
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / 'mmdwnet' / '.mim'
        shutil.rmtree(target, ignore_errors=True)  # may hold files that the sources no longer have
        for folder in ('configs', 'tools'):
            ignored = shutil.ignore_patterns('__pycache__')
            shutil.copytree(ROOT / folder, target / folder, ignore=ignored)
        shutil.copy(ROOT / 'model-index.yml', target)


setup(cmdclass={'build_py': BuildWithConfigs})
