"""ImageNet in zip archives, for file systems that are slow with a million files."""

import re

import numpy as np
from mmengine.dist import get_dist_info
from mmengine.logging import print_log
from mmengine.registry import DATASETS
from mmpretrain.datasets import BaseDataset, ImageNet

from mmdwnet.errors import UserError

from .archive import open_archive

CACHES = ('none', 'part', 'full')
_LINE = re.compile('([^\\t\\n\\0]{1,4096})\\t([0-9]{1,9})\\n?')


@DATASETS.register_module()
class ImageNetZip(BaseDataset):
    """ImageNet with one zip archive per split and a map file that lists its images.

    Each line of the map is the path of an image in the archive, a tab, and the label, counted from
    0. Everything but the image data is checked when the dataset is loaded. The layout is that of
    the authors' code (https://github.com/Atten4Vis/DemystifyLocalViT).

    Args:
        data_root: Folder of the archive and the map.
        split: Split that the default file names are built from.
        data_prefix: Archive. Defaults to `{split}.zip`.
        ann_file: Map. Defaults to `{split}_map.txt`.
        cache: Files that each process keeps in memory, encoded as in the archive: 'none', 'part'
            (its share, for `ShareSampler`) or 'full' (all). DataLoader workers share the cache of
            their process.
        **kwargs: Arguments of mmpretrain's BaseDataset.

    Raises:
        UserError: The archive or the map is missing or broken, or they do not match.
    """

    METAINFO = ImageNet.METAINFO

    def __init__(
        self,
        data_root: str = '',
        split: str = '',
        data_prefix: str = '',
        ann_file: str = '',
        cache: str = 'none',
        **kwargs: object,
    ) -> None:
        if cache not in CACHES:
            raise UserError(f'ImageNetZip got cache={cache!r}: give one of {CACHES}')
        if not split and not (data_prefix and ann_file):
            raise UserError(
                "ImageNetZip needs an archive: give split='train' or 'val', or data_prefix for "
                'the archive and ann_file for the map'
            )
        self.cache = cache
        super().__init__(
            data_root=data_root,
            data_prefix=data_prefix or f'{split}.zip',
            ann_file=ann_file or f'{split}_map.txt',
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """Read the map and look up its images in the archive."""
        # Keep the archive as an attribute: it carries the cache into spawned workers.
        self._archive = open_archive(self.img_prefix)
        names, labels = read_map(self.ann_file, len(self.CLASSES))
        missing = np.flatnonzero(~self._archive.has(names))
        if len(missing):
            raise UserError(
                f'{self.ann_file}, line {missing[0] + 1}: {self.img_prefix} has no '
                f'{names[missing[0]]} ({len(missing)} of {len(names)} images are missing); give '
                'the map that belongs to the archive, or copy or download the archive again'
            )
        return [
            dict(img_path=self._archive.url(name), gt_label=label)
            for name, label in zip(names, labels, strict=True)
        ]

    def full_init(self) -> None:
        """Load the map and fill the cache, unless this has already been done."""
        if self._fully_initialized:
            return
        super().full_init()
        if self.cache == 'none':
            return
        rank, world_size = get_dist_info() if self.cache == 'part' else (0, 1)
        share = range(rank, len(self), world_size)
        names = [self._archive.name(self.get_data_info(i)['img_path']) for i in share]
        size = self._archive.cache(names)
        print_log(
            f'{len(share)} of {len(self)} images of {self.img_prefix} are in memory: '
            f'{size / 1e9:.3g} GB',
            logger='current',
        )

    def extra_repr(self) -> list[str]:
        """Return the lines that mmpretrain's `__repr__` adds, with the cache mode."""
        return [*super().extra_repr(), f'Cache in memory: \t{self.cache}']


def read_map(path: str, num_classes: int) -> tuple[list[str], list[int]]:
    """Read a map of `path-inside-zip<TAB>label` lines.

    Args:
        path: Path of the map.
        num_classes: Number of classes.

    Returns:
        Paths inside the archive, and labels from 0 to `num_classes - 1`.

    Raises:
        UserError: The map is missing, empty or not text, or a line is malformed or repeated.
    """
    labels: dict[str, int] = {}
    try:
        with open(path, encoding='utf-8') as lines:
            for number, line in enumerate(lines, 1):
                match = _LINE.fullmatch(line)
                if match is None:
                    problem = f'{line[:100]!r} is not path-inside-zip<TAB>label'
                elif int(match[2]) >= num_classes:
                    problem = f'the label {match[2]} is not in 0 to {num_classes - 1}'
                elif match[1] in labels:
                    problem = f'{match[1]} is listed twice'
                else:
                    labels[match[1]] = int(match[2])
                    continue
                raise UserError(f'{path}, line {number}: {problem}; correct the map')
    except OSError as error:
        raise UserError(
            f'the map {path} cannot be read: {error.strerror}; put it there, or set ann_file'
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(
            f'the map {path} is not UTF-8 text: give lines of path-inside-zip<TAB>label'
        ) from error
    if not labels:
        raise UserError(f'the map {path} is empty: give lines of path-inside-zip<TAB>label')
    return list(labels), list(labels.values())
