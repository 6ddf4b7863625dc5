"""OpenMMLab's packages come in families, which must not be mixed in one environment."""

from importlib.metadata import Distribution, PackageNotFoundError, distribution

from mmdwnet.errors import UserError

# The distributions that provide each package: the originals, and the maintained fork.
PROVIDERS = {
    'mmcv': ('mmcv', 'mmcv-full', 'mmcv-lite', 'onedl-mmcv'),
    'mmdet': ('mmdet', 'onedl-mmdetection'),
    'mmengine': ('mmengine', 'mmengine-lite', 'onedl-mmengine'),
    'mmpretrain': ('mmpretrain', 'onedl-mmpretrain'),
    'mmseg': ('mmsegmentation', 'onedl-mmsegmentation'),
}


def check_families() -> None:
    """Refuse an environment in which two distributions have overwritten each other's files.

    Distributions in different folders are no fault: Python uses the first on its path. Nor are
    different families for different packages, such as an mmcv compiled from the original sources
    beside the forks.

    Raises:
        UserError: Two distributions provide the same package in the same folder.
    """
    for package, names in PROVIDERS.items():
        folders: dict[str, str] = {}
        for name in names:
            if (found := _find(name)) is None:
                continue
            other = folders.setdefault(str(found.locate_file('')), name)
            if other != name:
                both = [name for package in PROVIDERS for name in installed(package)]
                raise UserError(
                    f'{other} and {name} are both installed here, and each has overwritten files '
                    f'of the other in the package {package}: remove both families with "pip '
                    f'uninstall -y {" ".join(both)}", then install one again: the forks with '
                    '"pip install -r requirements/mm.txt", or the originals with "pip install -r '
                    'requirements/mm_original.txt"'
                )


def installed(package: str) -> dict[str, str]:
    """Return the version of each distribution that provides a package, in whatever folder."""
    found = {name: _find(name) for name in PROVIDERS.get(package, (package,))}
    return {name: one.version for name, one in found.items() if one}


def _find(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None
