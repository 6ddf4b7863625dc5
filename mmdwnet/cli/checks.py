"""Checks of a command's files and folders, made before anything is written."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import DATASETS, METRICS, DefaultScope

from mmdwnet.apis.building import resolve
from mmdwnet.errors import UserError

# The class of each library whose files are known, and how its data usually lie.
_KNOWN = {
    'mmpretrain': ('CustomDataset', "ImageNet's layout, train/CLASS/*.jpg and val/CLASS/*.jpg"),
    'mmdet': (
        'CocoDataset',
        "COCO's layout, annotations/instances_{train,val}2017.json, train2017/*.jpg and "
        'val2017/*.jpg',
    ),
    'mmseg': (
        'BaseSegDataset',
        "ADE20K's layout, images/{training,validation}/*.jpg and "
        'annotations/{training,validation}/*.png',
    ),
}


def check_folder(path: str | Path) -> None:
    """Check that a folder, which need not exist, can be written to; leave nothing behind.

    Raises:
        UserError: It cannot be written to.
    """
    folder = Path(path).absolute()
    try:
        while not folder.exists():
            folder = folder.parent
        # Permissions alone do not tell: file systems can be read-only, and root may do anything.
        with tempfile.TemporaryDirectory(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f'the folder {path} cannot be written: {folder}: {error.strerror}; choose another'
        ) from error


def check_file(path: str) -> None:
    """Check that a file, in a folder that need not exist, can be written; leave nothing behind.

    Raises:
        UserError: It cannot be written.
    """
    if Path(path).is_dir():
        raise UserError(f'the file {path} cannot be written: it is a folder; choose another name')
    check_folder(Path(path).parent)


def check_data(cfg: Config, *kinds: str) -> None:
    """Check for the files that data loaders and evaluators are going to read.

    Only layouts that are known are checked; everything else is left to the data set's own class.

    Args:
        cfg: The config.
        kinds: Which of 'train', 'val' and 'test'.

    Raises:
        UserError: A file or folder is missing, a folder is empty, or an archive is broken.
    """
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        for kind in kinds:
            for dataset in datasets(cfg[f'{kind}_dataloader'].get('dataset')):
                _check_dataset(dataset, kind, cfg.default_scope)
            metrics = cfg.get(f'{kind}_evaluator') or []
            for metric in metrics if isinstance(metrics, list | tuple) else [metrics]:
                _check_metric(metric, kind)


def datasets(dataset: object) -> Iterator[dict]:
    """Yield the data sets within wrappers such as RepeatDataset and ConcatDataset."""
    if not isinstance(dataset, dict):
        return
    inner = dataset.get('datasets') or ([dataset['dataset']] if 'dataset' in dataset else [])
    for each in inner:
        yield from datasets(each)
    if not inner:
        yield dataset


def _check_dataset(given: dict, kind: str, scope: str) -> None:
    cls = resolve(DATASETS, given.get('type'))
    zipped = getattr(cls, '__name__', None) == 'ImageNetZip'
    if not zipped and not _reads_as(cls, resolve(DATASETS, _KNOWN[scope][0])):
        return
    # Data behind another backend (an archive, a server) cannot be looked for here.
    places = [given.get(key) for key in ('data_root', 'data_prefix', 'ann_file')]
    if given.get('backend_args') or '://' in str(places):
        return
    dataset = DATASETS.build({**given, 'pipeline': [], 'lazy_init': True})
    if zipped:
        dataset.load_data_list()  # which finds out what is wrong with its files
        return
    root, annotations = dataset.data_root or '', dataset.ann_file
    images = [dataset.data_prefix.get(key) for key in ('img_path', 'img')]
    if kind != 'test':  # where predicting needs no label maps
        images.append(dataset.data_prefix.get('seg_map_path'))
    images = [path for path in images if path]
    if root and any(Path(path).is_relative_to(root) for path in (*images, annotations)):
        images.insert(0, root)
    for path in map(Path, images):
        if not path.is_dir():
            problem = 'does not exist' if not path.exists() else 'is not a folder'
            if path.is_symlink():
                problem = f'is a link to {path.readlink()}, which {problem}'
        elif not any(files for _, _, files in os.walk(path, followlinks=True)):
            problem = 'holds no files'
        else:
            continue
        raise UserError(_no_data(kind, path, problem, root, scope))
    # Without a list of labels, the names of the folders are the labels.
    unlisted = scope == 'mmpretrain' and dataset.with_label and not annotations
    folder = Path(images[-1]) if images else Path()
    if unlisted and not any(entry.is_dir() for entry in folder.iterdir()):
        raise UserError(_no_data(kind, folder, 'holds no folders, one per class', root, scope))
    if annotations and not Path(annotations).exists():
        raise UserError(_no_data(kind, Path(annotations), 'does not exist', root, scope))


def _reads_as(cls: Any, known: Any) -> bool:
    """Return whether a class finds its files as a known one does."""
    if known not in getattr(cls, '__mro__', ()):
        return False
    libraries = {each.__module__.partition('.')[0] for each in (cls, known)}
    same_options = len(libraries) == 1 or cls.__init__ is known.__init__
    return same_options and cls.load_data_list is known.load_data_list


def _check_metric(metric: dict, kind: str) -> None:
    cls = resolve(METRICS, metric.get('type'))
    annotations = metric.get('ann_file')
    if getattr(cls, '__name__', '') != 'CocoMetric' or not annotations:
        return
    if metric.get('backend_args') or '://' in annotations or Path(annotations).is_file():
        return
    raise UserError(
        f'the annotations of the {kind} data are not there: {annotations} does not exist; set '
        f'{kind}_evaluator.ann_file'
    )


def _no_data(kind: str, path: Path, problem: str, root: str, scope: str) -> str:
    return (
        f'the {kind} data are not there: {path} {problem}; put data of {_KNOWN[scope][1]}, below '
        f'{root}, or set {kind}_dataloader.dataset.data_root'
    )
