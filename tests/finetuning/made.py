"""Small data with a red or green rectangle in each picture."""

import json
from pathlib import Path

import cv2
import numpy as np

from mmdwnet.finetuning.found import Found, Object, Sample

WIDTH, HEIGHT = 80, 64
CLASSES = {
    'classify': ['green', 'red'],
    'detect': ['green', 'red'],
    'segment': ['background', 'green', 'red'],
}


def picture(number: int) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """An image in BGR, and the box of its rectangle: green in even ones, red in odd ones."""
    rng = np.random.default_rng(number)
    image = rng.integers(0, 60, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    x, y = rng.integers(4, 32, 2).tolist()
    width, height = rng.integers(16, 28, 2).tolist()
    image[y : y + height, x : x + width, 1 + number % 2] = 230
    return image, (x, y, x + width, y + height)


def make(task: str, root: Path, train: int = 8, val: int = 4) -> Found:
    """Write images, for segmentation with label maps, and return what there is."""
    (root / 'images').mkdir(parents=True)
    (root / 'maps').mkdir()
    splits: dict[str, list[Sample]] = {'train': [], 'val': []}
    for number in range(train + val):
        image, box = picture(number)
        path, label = root / f'images/{number:03}.png', number % 2
        cv2.imwrite(str(path), image)
        annotation: dict = dict(label=label)
        x1, y1, x2, y2 = box
        if task == 'detect':
            outline = [[x1, y1, x2, y1, x2, y2, x1, y2]]
            annotation = dict(objects=(Object(label, tuple(map(float, box)), outline),))
        elif task == 'segment':
            labels = np.zeros((HEIGHT, WIDTH), np.uint8)
            labels[y1:y2, x1:x2] = label + 1
            annotation = dict(map=root / f'maps/{number:03}.png')
            cv2.imwrite(str(annotation['map']), labels)
        split = 'train' if number < train else 'val'
        splits[split].append(Sample(path, (WIDTH, HEIGHT), **annotation))
    return Found(task, 'test data', CLASSES[task], splits, masks=task == 'detect')


def class_folders(root: Path, count: int) -> Path:
    """Write pictures into a folder for each class."""
    for number in range(count):
        folder = root / CLASSES['classify'][number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f'{number:03}.png'), picture(number)[0])
    return root


def coco(root: Path, count: int) -> Path:
    """Write pictures and a COCO file beside them."""
    found = make('detect', root, train=count, val=0)
    images, annotations = [], []
    for number, sample in enumerate(found.splits['train']):
        name = str(sample.path.relative_to(root))
        images.append(dict(id=number, file_name=name, width=WIDTH, height=HEIGHT))
        (one,) = sample.objects
        x1, y1, x2, y2 = one.box
        annotations.append(
            dict(
                id=number + 1,
                image_id=number,
                category_id=one.label + 1,
                bbox=[x1, y1, x2 - x1, y2 - y1],
                area=(x2 - x1) * (y2 - y1),
                iscrowd=0,
                segmentation=one.segmentation,
            )
        )
    categories = [dict(id=label, name=name) for label, name in enumerate(CLASSES['detect'], 1)]
    content = dict(images=images, annotations=annotations, categories=categories)
    (root / 'instances.json').write_text(json.dumps(content))
    return root


def label_maps(root: Path, count: int) -> Path:
    """Write pictures and their label maps, and a file with the names of the classes."""
    make('segment', root, train=count, val=0)
    (root / 'maps').rename(root / 'masks')
    (root / 'classes.txt').write_text(''.join(f'{name}\n' for name in CLASSES['segment']))
    return root


FOLDERS = {'classify': class_folders, 'detect': coco, 'segment': label_maps}
