"""Digit scenes in the folder layouts of ImageNet, COCO and ADE20K."""

import json
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from .digits import labels, split_digits
from .options import CLASSES, DigitSceneOptions
from .scenes import Scene, scene, single_digit

_JPEG_QUALITY = 95


def write_imagenet(root: Path, options: DigitSceneOptions, split: str) -> int:
    """Write `imagenet/{train,val}/{0..9}/DIGIT_REPEAT.jpg`, one digit per picture.

    Args:
        root: Folder to write into.
        options: Sizes, counts and seed.
        split: 'train' or 'val'.

    Returns:
        The number of pictures.
    """
    folder = root / 'imagenet' / split
    for label in range(len(CLASSES)):
        (folder / str(label)).mkdir(parents=True)
    repeats = options.cls_train_per_digit if split == 'train' else options.cls_val_per_digit
    digits = split_digits(options.seed)[split]
    for digit in digits.tolist():
        for repeat in range(repeats):
            data = _jpeg(single_digit(options, split, digit, repeat))
            (folder / str(labels()[digit]) / f'{digit:04d}_{repeat}.jpg').write_bytes(data)
    return len(digits) * repeats


def write_scenes(root: Path, options: DigitSceneOptions, split: str) -> int:
    """Write the same scenes twice, as COCO instances and as ADE20K label maps.

    `coco/{train,val}2017/*.jpg` with `coco/annotations/instances_{train,val}2017.json`, and
    `ade/ADEChallengeData2016/{images,annotations}/{training,validation}/*`, where label 1 is the
    background and 2 to 11 are the digits (0 means unlabeled and does not occur).

    Args:
        root: Folder to write into.
        options: Sizes, counts and seed.
        split: 'train' or 'val'.

    Returns:
        The number of scenes.
    """
    ade = root / 'ade' / 'ADEChallengeData2016'
    part = {'train': 'training', 'val': 'validation'}[split]
    coco_images = root / 'coco' / f'{split}2017'
    ade_images, ade_maps = ade / 'images' / part, ade / 'annotations' / part
    annotations = root / 'coco' / 'annotations'
    for folder in (coco_images, ade_images, ade_maps, annotations):
        folder.mkdir(parents=True, exist_ok=True)

    count = options.train_scenes if split == 'train' else options.val_scenes
    # Ids are unique across both splits, as in COCO.
    first_id = 1 if split == 'train' else options.train_scenes + 1
    images: list[dict] = []
    instances: list[dict] = []
    for index in range(count):
        drawn = scene(options, split, index)
        data = _jpeg(drawn.image)
        image_id = first_id + index
        name = f'{image_id:012d}.jpg'
        side = options.scene_size
        images.append({'id': image_id, 'file_name': name, 'width': side, 'height': side})
        instances += _instances(drawn, image_id)
        (coco_images / name).write_bytes(data)
        stem = f'ADE_{split}_{index + 1:08d}'
        (ade_images / f'{stem}.jpg').write_bytes(data)
        (ade_maps / f'{stem}.png').write_bytes(_encode('.png', _label_map(drawn)))

    categories = [
        {'id': label + 1, 'name': name, 'supercategory': 'digit'}
        for label, name in enumerate(CLASSES)
    ]
    for number, instance in enumerate(instances, start=1):
        instance['id'] = number
    (annotations / f'instances_{split}2017.json').write_text(
        json.dumps(
            {
                'info': {'description': f'digit scenes, {split}'},
                'licenses': [],
                'images': images,
                'annotations': instances,
                'categories': categories,
            }
        )
    )
    return count


def _instances(drawn: Scene, image_id: int) -> list[dict]:
    """Return COCO annotations; masks are run-length encoded, because polygons have no holes."""
    found = []
    for digit, label, mask in zip(drawn.digits, drawn.labels, drawn.masks, strict=True):
        rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
        found.append(
            {
                'image_id': image_id,
                'category_id': label + 1,
                'bbox': coco_mask.toBbox(rle).tolist(),
                'area': int(mask.sum()),
                'segmentation': {'size': rle['size'], 'counts': rle['counts'].decode()},
                'iscrowd': 0,
                'digit': digit,
            }
        )
    return found


def _label_map(drawn: Scene) -> np.ndarray:
    """Return the label map, uint8 (size, size): 1 for the background, label + 2 for the digits."""
    label_map = np.ones(drawn.image.shape[:2], np.uint8)
    for label, mask in zip(drawn.labels, drawn.masks, strict=True):
        label_map[mask] = label + 2
    return label_map


def _jpeg(image: np.ndarray) -> bytes:
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return _encode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])


def _encode(suffix: str, image: np.ndarray, parameters: list[int] | None = None) -> bytes:
    return cv2.imencode(suffix, image, parameters or [])[1].tobytes()
