import json
from pathlib import Path

import cv2
import numpy as np
import pytest

IMAGE_SIZE = (240, 320)  # height, width


def write_image(path: Path) -> None:
    path.parent.mkdir(parents=True)
    image = np.random.default_rng(0).integers(0, 256, (*IMAGE_SIZE, 3), dtype=np.uint8)
    cv2.imwrite(str(path), image)


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    """Create both splits with one image of class 7, listed in meta files."""
    (tmp_path / 'meta').mkdir()
    for split in ('train', 'val'):
        write_image(tmp_path / split / 'image.png')
        (tmp_path / 'meta' / f'{split}.txt').write_text('image.png 7\n')
    return tmp_path


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """Create both splits with one image of two people."""
    height, width = IMAGE_SIZE
    objects = [
        dict(
            id=i,
            image_id=1,
            category_id=1,
            bbox=[x, 40, 100, 120],
            area=12000,
            iscrowd=0,
            segmentation=[[x, 40, x + 100, 40, x + 100, 160, x, 160]],
        )
        for i, x in ((1, 20), (2, 180))
    ]
    (tmp_path / 'annotations').mkdir()
    for split in ('train2017', 'val2017'):
        write_image(tmp_path / split / '000000000001.jpg')
        annotations = dict(
            images=[dict(id=1, file_name='000000000001.jpg', height=height, width=width)],
            annotations=objects,
            categories=[dict(id=1, name='person')],
        )
        path = tmp_path / 'annotations' / f'instances_{split}.json'
        path.write_text(json.dumps(annotations))
    return tmp_path


@pytest.fixture
def ade(tmp_path: Path) -> Path:
    """Create both splits with one image: no label above, the 150th class below."""
    labels = np.zeros(IMAGE_SIZE, dtype=np.uint8)
    labels[IMAGE_SIZE[0] // 2 :] = 150
    for split in ('training', 'validation'):
        write_image(tmp_path / 'images' / split / 'image.jpg')
        path = tmp_path / 'annotations' / split / 'image.png'
        path.parent.mkdir(parents=True)
        cv2.imwrite(str(path), labels)
    return tmp_path
