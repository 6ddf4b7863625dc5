"""Fashion-MNIST's photographs of clothes, as class folders and as a CSV file."""

import csv
import gzip
from pathlib import Path

import numpy as np

from ..encoding import png

CLASSES = (
    *('T-shirt', 'Trouser', 'Pullover', 'Dress', 'Coat'),
    *('Sandal', 'Shirt', 'Sneaker', 'Bag', 'Ankle boot'),
)
_PARTS = {'train': 'train', 'val': 't10k'}


def write_fashion(source: Path, root: Path, counts: dict[str, int]) -> None:
    """Write the same images as `folders/{train,val}/CLASS/*.png` and as `csv/labels.csv`.

    Args:
        source: The package's folder.
        root: Folder to write into.
        counts: Images per class of 'train' and 'val'; the first ones are taken.
    """
    table = root / 'csv'
    (table / 'images').mkdir(parents=True)
    rows = [('file', 'label')]
    for split, count in counts.items():
        images = _read(source / f'{_PARTS[split]}-images-idx3-ubyte.gz', 16).reshape(-1, 28, 28)
        labels = _read(source / f'{_PARTS[split]}-labels-idx1-ubyte.gz', 8)
        for label, name in enumerate(CLASSES):
            folder = root / 'folders' / split / name
            folder.mkdir(parents=True)
            for index in np.nonzero(labels == label)[0][:count].tolist():
                file = f'{split}_{index:05d}.png'
                for copy in (folder / file, table / 'images' / file):
                    copy.write_bytes(png(images[index]))
                rows.append((f'images/{file}', name))
    with (table / 'labels.csv').open('w', newline='') as stream:
        csv.writer(stream).writerows(rows)


def _read(path: Path, header: int) -> np.ndarray:
    """Return the values of an IDX file after its header, uint8 (n,)."""
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header)
