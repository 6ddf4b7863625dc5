"""Pictures and masks as the bytes of files."""

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as coco_mask

_JPEG_QUALITY = 95


def jpeg(image: np.ndarray) -> bytes:
    """Encode an RGB image, uint8 (h, w, 3)."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    parameters = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    return cv2.imencode('.jpg', bgr, parameters)[1].tobytes()


def png(image: np.ndarray) -> bytes:
    """Encode an image of one channel, uint8 (h, w)."""
    return cv2.imencode('.png', image)[1].tobytes()


def instance(mask: np.ndarray, image_id: int, category_id: int) -> dict:
    """Return a COCO annotation without its id, of a mask, bool (h, w).

    The mask is run-length encoded, because polygons have no holes.
    """
    rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {
        'image_id': image_id,
        'category_id': category_id,
        'bbox': coco_mask.toBbox(rle).tolist(),
        'area': int(mask.sum()),
        'segmentation': {'size': rle['size'], 'counts': rle['counts'].decode()},
        'iscrowd': 0,
    }


def write_coco(
    path: Path, images: list[dict], instances: list[dict], classes: Sequence[str]
) -> None:
    """Write a COCO JSON file; ids of instances and categories count from 1."""
    content = {
        'images': images,
        'annotations': [{**one, 'id': number} for number, one in enumerate(instances, start=1)],
        'categories': [{'id': id, 'name': name} for id, name in enumerate(classes, start=1)],
    }
    path.write_text(json.dumps(content))
