"""Trained models for people in Python: loaded in a line, called with images."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.structures import BaseDataElement

from mmdwnet.checkpoints.latest import find_best
from mmdwnet.errors import DataError, UserError

from .building import read_config, skips_bad_data
from .hub import config_path, list_models
from .inferencers import by_name, make_inferencer
from .results import Classification, Detection, Segmentation
from .sources import Source, find_images, naming

_RESULTS = {'mmpretrain': Classification, 'mmdet': Detection, 'mmseg': Segmentation}


def load(
    model: str | Path,
    weights: str | Path | None = None,
    device: str | torch.device | None = None,
) -> 'Predictor':
    """Load a trained classifier, detector or segmentor.

    A config is a Python program, and loading a folder runs its config: load only folders that you
    trust. Checkpoints are read as data.

    Args:
        model: One of `list_models()`, with its released weights; or a folder that
            `tools/finetune.py` or `tools/train.py` wrote, with its newest best checkpoint
            (`best_*.pth`), or else the newest one that training can be resumed from; or a config.
        weights: File or address of other weights; a config needs some.
        device: Device to run on; by default the one that mmengine finds.

    Returns:
        The model, to be called with images.

    Raises:
        UserError: There is no such model, folder or config; the folder has no config or checkpoint;
            the weights are missing, unreadable, or of another model; or the device cannot be used.
    """
    name, path = str(model), Path(model)
    if name in list_models():
        cfg, checkpoint = by_name(name, weights)
    elif path.is_dir():
        cfg, checkpoint = _find_trained(path, weights)
    elif path.is_file():
        if weights is None:
            raise UserError(f'{path} comes without weights: give its checkpoint as weights=...')
        cfg, checkpoint = read_config(path), str(weights)
    else:
        try:
            config_path(name)
        except UserError as error:
            raise UserError(f'there is no folder or config {name}, and {error}') from error
    return Predictor(make_inferencer(cfg, checkpoint, device), skips_bad_data(cfg))


def _find_trained(folder: Path, weights: str | Path | None) -> tuple[Config, str]:
    """Find the config and the checkpoint in a folder that a training wrote."""
    found = sorted(folder.glob('*.py'))
    if len(found) != 1:
        names = ', '.join(path.name for path in found) or 'none'
        raise UserError(
            f'the folder {folder} should have one config, and has {names}: name a folder that '
            'tools/finetune.py or tools/train.py wrote, or a config with its weights'
        )
    cfg = read_config(found[0])
    if weights is not None:
        return cfg, str(weights)
    passed: list[str] = []
    inner = Path(cfg.get('work_dir') or folder).resolve()
    # A folder may have been moved or copied, and the one that its config names be another's.
    for place in [folder, *([inner] if inner.is_relative_to(folder.resolve()) else [])]:
        best, told = find_best(place)
        if best:
            return cfg, best
        passed += told
    why = f' ({passed[0]})' if passed else ''
    raise UserError(
        f'the folder {folder} has no checkpoint to use{why}: train longer, or give weights=...'
    )


class Predictor:
    """A trained model, made by `load`.

    Attributes:
        inferencer: mmpretrain's, mmdet's or mmseg's inferencer, which has the network in `model`.
        classes: The names of the classes; None where neither checkpoint nor config has any.
        skip: Whether images that cannot be read are left out, with a warning that names them; if
            not, they end a prediction. The config decides (`bad_data='skip'` or `'stop'`).
    """

    def __init__(self, inferencer: Any, skip: bool = False) -> None:
        self.inferencer = inferencer
        self.classes = inferencer.model.dataset_meta['classes']
        self.skip = skip
        self._moves = next(inferencer.model.parameters()).device.type != 'cpu'
        self._library = type(inferencer).__module__.partition('.')[0]

    def __call__(self, images: Any, batch_size: int = 1, score_thr: float = 0.3) -> list[Any]:
        """Predict; all results are kept in memory.

        Args:
            images: A file; a folder, with all images in it and its folders; the address of a file;
                an array (H, W, 3) of uint8 in OpenCV's order BGR, as OpenMMLab takes it, or (H, W)
                in gray; a PIL image; or several of these.
            batch_size: How many images the network gets at once. Classifiers and segmentors get
                images of different sizes in turn, unless their pipelines make the sizes equal.
            score_thr: Objects are returned and drawn if their scores are higher.

        Returns:
            A `Classification`, `Detection` or `Segmentation` for each image.

        Raises:
            UserError: There is no such image, or none in a folder.
            DataError: An image cannot be read, and is not to be skipped.
        """
        return list(self.stream(images, batch_size, score_thr))

    def stream(self, images: Any, batch_size: int = 1, score_thr: float = 0.3) -> Iterator[Any]:
        """Predict as in a call, but yield each result when its batch is done.

        An iterator of images is read as far as it is needed, so there may be more of them, or more
        masks, than fit into memory.
        """
        if batch_size < 1:
            raise UserError(f'batch_size={batch_size} is not a size: give 1 or more')
        prepared = self._prepare(find_images(images))
        while batch := list(islice(prepared, batch_size)):
            for (image, _), sample in zip(batch, self._predict(batch), strict=True):
                yield _RESULTS[self._library](sample, image, self.inferencer, score_thr)

    def _prepare(self, images: Iterable[Source]) -> Iterator[tuple[Source, dict]]:
        """Yield each image that can be read, and what the network takes for it."""
        for image in images:
            try:
                if image.path and '://' in image.path:
                    image = Source(image.path, image.read())
                with naming(image.path):
                    given = image.path if image.pixels is None else image.pixels
                    (data,) = self.inferencer.preprocess([given])
            except DataError as error:
                if not self.skip:
                    raise
                print_log(f'left out: {error}', 'current', logging.WARNING)
            else:
                yield image, data[1] if self._library == 'mmdet' else data

    def _predict(self, batch: list[tuple[Source, dict]]) -> list[BaseDataElement]:
        # mmdet pads images to the same size; the others need them to have it.
        groups: dict[Any, list[int]] = defaultdict(list)
        for place, (_, data) in enumerate(batch):
            groups[self._library != 'mmdet' and data['inputs'][0].shape].append(place)
        predicted: dict[int, BaseDataElement] = {}
        for places in groups.values():
            inputs = [batch[place][1]['inputs'][0] for place in places]
            data = dict(
                inputs=torch.stack(inputs) if self._library == 'mmpretrain' else inputs,
                data_samples=[batch[place][1]['data_samples'][0] for place in places],
            )
            predicted.update(zip(places, self.inferencer.forward(data), strict=True))
        samples = [predicted[place] for place in range(len(batch))]
        # From the CPU, they would be copied.
        return [sample.cpu() for sample in samples] if self._moves else samples
