"""Small data sets, as the programs write them whose formats they have."""

import zlib
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 40, 30


def picture(path: Path, mode: str = 'RGB', size: tuple[int, int] = (WIDTH, HEIGHT)) -> Path:
    """An image that differs from all of other paths."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(zlib.crc32(str(path).encode()))
    pixels = rng.integers(0, 256, (size[1] // 5 + 1, size[0] // 5 + 1, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).resize(size)
    image.convert('L').convert(mode).save(path) if mode[0] == 'I' else image.convert(mode).save(
        path
    )
    return path


def class_folders(root: Path, **counts: int) -> Path:
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            picture(root / name / f'{name} {number}.jpg')
    return root


def write(path: Path, text: str, encoding: str = 'utf-8') -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path
