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
_LINE = re.compile('([^\\t\\n]+)\\t([0-9]{1,9})\\n?')


@DATASETS.register_module()
class ImageNetZip(BaseDataset):
    """ImageNet in a zip archive per split, beside a map that lists its images.

    A line of the map is the path of an image inside the archive, a tab, and the image's label, a
    number from 0. Everything but an image's bytes is checked when the data set is loaded. The
    layout is that of the authors' code (https://github.com/Atten4Vis/DemystifyLocalViT).

    Args:
        data_root: Folder of archive and map.
        split: Stands for the archive `{split}.zip` and the map `{split}_map.txt`.
        data_prefix: The archive, where it has another name.
        ann_file: The map, where it has another name.
        cache: What each process keeps in memory, as it is in the archive: 'none'; 'part', its share
            of the images, which `ShareSampler` keeps it to; or 'full', all of them. DataLoader
            workers have it in common with their process.
        **kwargs: Those of mmpretrain's BaseDataset.

    Raises:
        UserError: Archive or map are missing or broken, or do not go together.
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
                "ImageNetZip lacks an archive: give split='train' or 'val', or data_prefix for "
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
        """Reads the map and looks its images up in the archive.

        Returns:
            For each image its `img_path`, which mmengine reads, and `gt_label`.

        Raises:
            UserError: Archive or map are missing or broken, or do not go together.
        """
        # Kept, as it is what takes the cache along into a spawned worker.
        self._archive = open_archive(self.img_prefix)
        names, labels = read_map(self.ann_file, len(self.CLASSES))
        missing = np.flatnonzero(~self._archive.has(names))
        if len(missing):
            raise UserError(
                f'{self.ann_file}, line {missing[0] + 1}: {self.img_prefix} has no '
                f'{names[missing[0]]} ({len(missing)} of {len(names)} images are missing); give '
                'the map that belongs to the archive, or copy or download the archive anew'
            )
        return [
            dict(img_path=self._archive.url(name), gt_label=label)
            for name, label in zip(names, labels, strict=True)
        ]

    def full_init(self) -> None:
        """Loads the map, and from the archive what is to be in memory; once.

        Raises:
            UserError: Archive or map are missing or broken, or do not go together.
        """
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
        """Tells of archive, map and cache.

        Returns:
            Lines for mmpretrain's `__repr__`.
        """
        return [*super().extra_repr(), f'Cache in memory: \t{self.cache}']


def read_map(path: str, num_classes: int) -> tuple[list[str], list[int]]:
    """Reads a map of `path-inside-zip<TAB>label` lines.

    Args:
        path: Of the map.
        num_classes: Number of labels there are.

    Returns:
        The paths inside the archive, and their labels, from 0 to `num_classes - 1`.

    Raises:
        UserError: The map is missing, empty or no text, or a line of it is malformed or there
            twice.
    """
    labels: dict[str, int] = {}
    try:
        with open(path, encoding='utf-8') as lines:
            for number, line in enumerate(lines, 1):
                match = _LINE.fullmatch(line)
                if match is None:
                    problem = f'{line[:100]!r} is not path-inside-zip<TAB>label'
                elif int(match[2]) >= num_classes:
                    problem = f'the label {match[2]} is none of 0 to {num_classes - 1}'
                elif match[1] in labels:
                    problem = f'{match[1]} is there for the second time'
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
            f'the map {path} is no UTF-8 text: give lines of path-inside-zip<TAB>label'
        ) from error
    if not labels:
        raise UserError(f'the map {path} is empty: give lines of path-inside-zip<TAB>label')
    return list(labels), list(labels.values())
