"""Scenes in the formats of COCO, YOLO and Pascal VOC, and as images beside label maps."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import yaml

from ..encoding import instance, jpeg, png, write_coco
from .drawings import FOLDERS
from .scenes import SIZE, Scene

CLASSES = tuple(FOLDERS)
_VOC = """<annotation>
  <filename>{file}</filename>
  <size><width>{size}</width><height>{size}</height><depth>3</depth></size>
{objects}</annotation>
"""
_VOC_OBJECT = """  <object>
    <name>{name}</name>
    <bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>
  </object>
"""


def write_scenes(root: Path, split: str, scenes: Iterable[Scene]) -> None:
    """Write scenes in four formats, each with its own copy of the images.

    `coco/{train,val}/*.jpg` with `coco/annotations/instances_{train,val}.json`,
    `yolo/{images,labels}/{train,val}/*` with `yolo/data.yaml`, `voc/{JPEGImages,Annotations}/*`
    with `voc/ImageSets/Main/{train,val}.txt`, and `maps/{images,masks}/{train,val}/*` with
    `maps/classes.txt`.

    Args:
        root: Folder to write into.
        split: 'train' or 'val'.
        scenes: The scenes.
    """
    images: list[dict] = []
    instances: list[dict] = []
    names = ''
    for number, (image, labels, masks) in enumerate(scenes, start=1):
        name = f'{split}_{number:04d}'
        names += name + '\n'
        for folder in (
            f'coco/{split}',
            f'yolo/images/{split}',
            f'maps/images/{split}',
            'voc/JPEGImages',
        ):
            _write(root / folder / f'{name}.jpg', jpeg(image))
        label_map = np.zeros(image.shape[:2], np.uint8)
        for label, mask in zip(labels, masks, strict=True):
            label_map[mask] = label + 1
        _write(root / f'maps/masks/{split}/{name}.png', png(label_map))

        found = [instance(m, number, label + 1) for label, m in zip(labels, masks, strict=True)]
        images.append({'id': number, 'file_name': f'{name}.jpg', 'width': SIZE, 'height': SIZE})
        instances += found
        yolo, voc = '', ''
        for label, one in zip(labels, found, strict=True):
            x, y, w, h = map(int, one['bbox'])
            shares = (f'{value / SIZE:.6f}' for value in (x + w / 2, y + h / 2, w, h))
            yolo += f'{label} {" ".join(shares)}\n'
            # In VOC, pixels count from 1, and the last one belongs to the box.
            voc += _VOC_OBJECT.format(x + 1, y + 1, x + w, y + h, name=CLASSES[label])
        _write(root / f'yolo/labels/{split}/{name}.txt', yolo)
        voc = _VOC.format(file=f'{name}.jpg', size=SIZE, objects=voc)
        _write(root / f'voc/Annotations/{name}.xml', voc)

    _write(root / f'voc/ImageSets/Main/{split}.txt', names)
    folders = {'path': '.', 'train': 'images/train', 'val': 'images/val'}
    layout = yaml.safe_dump({**folders, 'names': dict(enumerate(CLASSES))}, sort_keys=False)
    _write(root / 'yolo/data.yaml', layout)
    _write(root / 'maps/classes.txt', '\n'.join(['background', *CLASSES, '']))
    annotations = root / 'coco/annotations'
    annotations.mkdir(exist_ok=True)
    write_coco(annotations / f'instances_{split}.json', images, instances, CLASSES)


def _write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
