"""ImageNet read from zip archives, which file systems bear better than a million files."""

from .archive import ZipArchive, ZipBackend
from .dataset import ImageNetZip
from .sampler import ShareSampler

__all__ = ['ImageNetZip', 'ShareSampler', 'ZipArchive', 'ZipBackend']
