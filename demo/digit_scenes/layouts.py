"""Digit scenes in the folder layouts of ImageNet, COCO and ADE20K."""

from pathlib import Path

import numpy as np

from ..encoding import instance, jpeg, png, write_coco
from .digits import labels, split_digits
from .options import CLASSES, PALETTE, SEG_CLASSES, DigitSceneOptions
from .scenes import Scene, scene, single_digit


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
    digits = split_digits(options.seed)[split][:: options.cls_every]
    for digit in digits.tolist():
        for repeat in range(repeats):
            data = jpeg(single_digit(options, split, digit, repeat))
            (folder / str(labels()[digit]) / f'{digit:04d}_{repeat}.jpg').write_bytes(data)
    return len(digits) * repeats


def write_scenes(root: Path, options: DigitSceneOptions, split: str) -> int:
    """Write the same scenes twice, as COCO instances and as ADE20K label maps.

    `coco/{train,val}2017/*.jpg` with `coco/annotations/instances_{train,val}2017.json`, and
    `ade/ADEChallengeData2016/{images,annotations}/{training,validation}/*`, where label 1 is the
    background and 2 to 11 are the digits (0 means unlabeled and does not occur). Names and colors
    are in `ade/ADEChallengeData2016/palette.txt`.

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
    lines = [f'{name} {r} {g} {b}\n' for name, (r, g, b) in zip(SEG_CLASSES, PALETTE, strict=True)]
    (ade / 'palette.txt').write_text(''.join(lines))

    count = options.train_scenes if split == 'train' else options.val_scenes
    # Ids are unique across both splits, as in COCO.
    first_id = 1 if split == 'train' else options.train_scenes + 1
    images: list[dict] = []
    instances: list[dict] = []
    for index in range(count):
        drawn = scene(options, split, index)
        data = jpeg(drawn.image)
        image_id = first_id + index
        name = f'{image_id:012d}.jpg'
        side = options.scene_size
        images.append({'id': image_id, 'file_name': name, 'width': side, 'height': side})
        instances += [
            {**instance(mask, image_id, label + 1), 'digit': digit}
            for digit, label, mask in zip(drawn.digits, drawn.labels, drawn.masks, strict=True)
        ]
        (coco_images / name).write_bytes(data)
        stem = f'ADE_{split}_{index + 1:08d}'
        (ade_images / f'{stem}.jpg').write_bytes(data)
        (ade_maps / f'{stem}.png').write_bytes(png(_label_map(drawn)))

    write_coco(annotations / f'instances_{split}2017.json', images, instances, CLASSES)
    return count


def _label_map(drawn: Scene) -> np.ndarray:
    """Return the label map, uint8 (size, size): 1 for the background, label + 2 for the digits."""
    label_map = np.ones(drawn.image.shape[:2], np.uint8)
    for label, mask in zip(drawn.labels, drawn.masks, strict=True):
        label_map[mask] = label + 2
    return label_map
