"""Lists of the samples of each split, as the libraries' own data sets read them."""

import io
import json
import os
from colorsys import hsv_to_rgb
from pathlib import Path
from typing import Any

import numpy as np
from mmengine import fileio
from PIL import Image

from .formats.coco import BACKGROUND
from .formats.label_maps import IGNORED, read_pixels
from .found import Found, Sample

_ATOMIC = {'backend': 'atomic'}


def write_lists(found: Found, folder: Path) -> dict[str, dict]:
    """Write the lists of all splits, and label maps where those that are there cannot be used.

    The same data give the same files. Images are not copied.

    Args:
        found: The data.
        folder: Where to write `lists/` and, if they are needed, `maps/`.

    Returns:
        For each split the config of its data set, without a pipeline. That of detection has the
        file that mmdet's CocoMetric reads as its `ann_file`.
    """
    folder = Path(os.path.abspath(folder))
    write = {'classify': _classify, 'detect': _detect, 'segment': _segment}[found.task]
    datasets = {
        split: write(found, samples, folder, split) for split, samples in found.splits.items()
    }
    for split, dataset in datasets.items():
        dataset['metainfo'] = dict(classes=list(found.classes))
        if found.task != 'classify':
            dataset['metainfo']['palette'] = palette(found)
        if split != 'train':
            dataset['test_mode'] = True
    return datasets


def palette(found: Found) -> list[tuple[int, ...]]:
    """Return a color for each class: the data's own, or black for background and bright ones."""
    if found.palette:
        return list(found.palette)
    # Steps by the golden ratio go around the circle of hues without meeting.
    colors = [
        hsv_to_rgb(label * 0.618 % 1, 1 - label % 3 / 4, 1) for label in range(len(found.classes))
    ]
    if found.classes[0] == BACKGROUND:
        colors[0] = (0, 0, 0)
    return [tuple(round(255 * value) for value in color) for color in colors]


def _classify(found: Found, samples: list[Sample], folder: Path, split: str) -> dict:
    path = folder / 'lists' / f'{split}.txt'
    _write_lines(path, [f'{sample.path} {sample.label}' for sample in samples])
    return dict(type='CustomDataset', ann_file=str(path), data_prefix='')


def _detect(found: Found, samples: list[Sample], folder: Path, split: str) -> dict:
    images: list[dict] = []
    annotations: list[dict] = []
    for number, sample in enumerate(samples):
        width, height = sample.size
        images.append(dict(id=number, file_name=str(sample.path), width=width, height=height))
        for one in sample.objects:
            x1, y1, x2, y2 = one.box
            annotation = dict(
                id=len(annotations) + 1,  # COCO's evaluation takes 0 for no match
                image_id=number,
                category_id=one.label,
                bbox=[x1, y1, x2 - x1, y2 - y1],
                area=(x2 - x1) * (y2 - y1),
                iscrowd=0,
            )
            if found.masks:
                annotation['segmentation'] = one.segmentation
                annotation['area'] = int(_draw(one.segmentation, sample.size).sum())
            annotations.append(annotation)
    path = folder / 'lists' / f'{split}.json'
    content = dict(
        info={},
        images=images,
        annotations=annotations,
        categories=[dict(id=label, name=name) for label, name in enumerate(found.classes)],
    )
    fileio.put_text(json.dumps(content, ensure_ascii=False), path, backend_args=_ATOMIC)
    return dict(type='CocoDataset', ann_file=str(path), data_prefix=dict(img=''))


def _segment(found: Found, samples: list[Sample], folder: Path, split: str) -> dict:
    images = os.path.commonpath([one.path.parent for one in samples])
    names = [os.path.relpath(one.path, images) for one in samples]
    layout = _find_layout(names, samples) if found.values is None else None
    if layout:
        names, maps, suffix, map_suffix = layout
    else:
        maps, suffix, map_suffix = str(folder / 'maps' / split), '', '.png'
        for name, sample in zip(names, samples, strict=True):
            content = io.BytesIO()
            Image.fromarray(_labels(found, sample)).save(content, 'PNG')
            fileio.put(content.getvalue(), f'{maps}/{name}.png', backend_args=_ATOMIC)
    path = folder / 'lists' / f'{split}.txt'
    # mmseg strips the lines.
    _write_lines(path, [name if name == name.strip() else f'./{name}' for name in names])
    return dict(
        type='BaseSegDataset',
        ann_file=str(path),
        data_prefix=dict(img_path=images, seg_map_path=maps),
        img_suffix=suffix,
        seg_map_suffix=map_suffix,
        reduce_zero_label=False,
    )


def _find_layout(names: list[str], samples: list[Sample]) -> tuple[list[str], str, str, str] | None:
    """Return how mmseg finds the label maps where they are, if it can.

    Returns:
        Names without the images' suffix, the folder of the label maps, and both suffixes.
    """
    files = [sample.map for sample in samples if sample.map]
    if not files:
        return None
    maps = os.path.commonpath([path.parent for path in files])
    suffix = samples[0].path.suffix
    stems = [name.removesuffix(suffix) for name in names]
    map_suffix = os.path.relpath(files[0], maps).removeprefix(stems[0])
    fits = names == [stem + suffix for stem in stems] and not any(
        stem != stem.rstrip() or Path(maps, stem + map_suffix) != path
        for stem, path in zip(stems, files, strict=True)
    )
    return (stems, maps, suffix, map_suffix) if fits else None


def _labels(found: Found, sample: Sample) -> np.ndarray:
    """Return the label map of an image, (H, W), uint8."""
    if sample.map is None:
        width, height = sample.size
        labels = np.zeros((height, width), np.uint8)
        drawn = [(_draw(one.segmentation, sample.size), one.label) for one in sample.objects]
        # Small ones lie on large ones.
        for pixels, label in sorted(drawn, key=lambda one: one[0].sum(), reverse=True):
            labels[pixels] = label
        return labels
    pixels = read_pixels(sample.map, found.colored)
    if found.values is None:
        return pixels.astype(np.uint8)
    values, where = np.unique(pixels, return_inverse=True)
    label_of = [found.values.get(value, IGNORED) for value in values.tolist()]
    return np.array(label_of, np.uint8)[where].reshape(pixels.shape)


def _draw(outline: Any, size: tuple[int, int]) -> np.ndarray:
    """Return whether each pixel is in an outline as COCO has them, (H, W), bool."""
    from pycocotools import mask  # comes with mmdet

    if isinstance(outline, list) or isinstance(outline['counts'], list):
        outline = mask.frPyObjects(outline, size[1], size[0])
    if isinstance(outline, list):
        outline = mask.merge(outline)
    return mask.decode(outline).astype(bool)


def _write_lines(path: Path, lines: list[str]) -> None:
    fileio.put_text('\n'.join(lines) + '\n', path, backend_args=_ATOMIC)
