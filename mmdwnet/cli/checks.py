"""What can be wrong with a command's input, found before anything is written."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DATASETS
from torch import nn

from mmdwnet.errors import UserError
from mmdwnet.models.mixers import DynamicMixer

from . import environment

LAYOUTS = {
    'mmpretrain': "ImageNet's layout, train/CLASS/*.jpg and val/CLASS/*.jpg",
    'mmdet': (
        "COCO's layout, annotations/instances_{train,val}2017.json, train2017/*.jpg and "
        'val2017/*.jpg'
    ),
    'mmseg': (
        "ADE20K's layout, images/{training,validation}/*.jpg and "
        'annotations/{training,validation}/*.png'
    ),
}


def check_processes(cfg: Config) -> None:
    """Refuses more processes on this machine than it has GPUs, if it has any.

    Args:
        cfg: A config with its `launcher`.

    Raises:
        UserError: There are too few GPUs.
    """
    processes = environment.local_processes(cfg.launcher, os.environ)
    environment.check_processes(processes, torch.cuda.device_count())


def check_folder(path: str | Path) -> None:
    """Sees whether a folder can be made and written into, and leaves nothing behind.

    Args:
        path: The folder; it need not exist, nor those above it.

    Raises:
        UserError: It cannot.
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
    """Sees whether a file can be written, and leaves nothing behind.

    Args:
        path: The file; it need not exist, nor the folders above it.

    Raises:
        UserError: It cannot.
    """
    if Path(path).is_dir():
        raise UserError(f'the file {path} cannot be written: it is a folder; choose another name')
    check_folder(Path(path).parent)


def check_batch(model: nn.Module, batch_size: int | None, distributed: bool) -> None:
    """Refuses to train on one image per process what needs two.

    Args:
        model: The model.
        batch_size: Images per process, if known.
        distributed: Whether there may be several processes, which SyncBN needs to be of use.

    Raises:
        UserError: A dynamic mixer would see one value per channel.
    """
    if batch_size != 1:
        return
    for module in model.train().modules():
        if not isinstance(module, DynamicMixer):
            continue
        synchronised = distributed and isinstance(module.bn, nn.SyncBatchNorm)
        if not synchronised:
            revert_sync_batchnorm(module)(torch.zeros(1, module.bias.numel(), 1, 1))


def check_data(cfg: Config, *kinds: str) -> None:
    """Looks for the files that data loaders and evaluators are going to read.

    Args:
        cfg: The config.
        kinds: Which of 'train', 'val' and 'test'.

    Raises:
        UserError: A file or folder is missing, there are no files in it, or an archive is broken.
    """
    for kind in kinds:
        for dataset in _datasets(cfg[f'{kind}_dataloader']['dataset']):
            # Data behind another backend (an archive, a server) cannot be looked for here.
            if not dataset.get('backend_args'):
                _check_dataset(dataset, kind, cfg.default_scope)
        metrics = cfg.get(f'{kind}_evaluator') or []
        for metric in [metrics] if isinstance(metrics, dict) else metrics:
            annotations = metric.get('ann_file')
            if annotations and not metric.get('backend_args') and not Path(annotations).is_file():
                raise UserError(
                    f'the annotations of the {kind} data are not there: {annotations} does not '
                    f'exist; set {kind}_evaluator.ann_file'
                )


def _datasets(dataset: dict) -> Iterator[dict]:
    """Yields the data sets within wrappers such as RepeatDataset and ConcatDataset."""
    inner = dataset.get('datasets') or ([dataset['dataset']] if 'dataset' in dataset else [])
    for each in inner:
        yield from _datasets(each)
    if not inner:
        yield dataset


def _check_dataset(dataset: dict, kind: str, scope: str) -> None:
    if dataset.get('type') == 'ImageNetZip':
        # It finds out itself what is wrong with its files.
        DATASETS.build({**dataset, 'pipeline': [], 'lazy_init': True}).load_data_list()
        return
    root = Path(dataset.get('data_root') or '')
    prefix = dataset.get('data_prefix') or dataset.get('split') or ''
    folders = list(prefix.values()) if isinstance(prefix, dict) else [prefix]
    for folder in (root, *(root / folder for folder in folders if isinstance(folder, str))):
        if not folder.is_dir():
            problem = 'does not exist' if not folder.exists() else 'is not a folder'
        elif not any(files for _, _, files in os.walk(folder, followlinks=True)):
            problem = 'holds no files'
        else:
            continue
        raise UserError(_no_data(kind, folder, problem, root, scope))
    annotations = dataset.get('ann_file')
    if dataset.get('type') in ('ImageNet', 'CustomDataset') and not annotations:
        # Without a list of labels, the names of the folders are the labels.
        listed = (root / 'meta' / f'{dataset.get("split")}.txt').is_file()
        folder = root / folders[0]
        if not listed and not any(entry.is_dir() for entry in folder.iterdir()):
            raise UserError(_no_data(kind, folder, 'holds no folders, one per class', root, scope))
    if annotations and not (root / annotations).is_file():
        raise UserError(_no_data(kind, root / annotations, 'does not exist', root, scope))


def _no_data(kind: str, path: Path, problem: str, root: Path, scope: str) -> str:
    return (
        f'the {kind} data are not there: {path} {problem}; put data of {LAYOUTS[scope]}, below '
        f'{root}, or set {kind}_dataloader.dataset.data_root'
    )
