import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

IMAGES = 13  # a number that processes, workers and batches cannot share out evenly


@pytest.fixture(scope='session')
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both splits of a tiny ImageNet, as folders with lists in meta/ and as archives with maps."""
    root = tmp_path_factory.mktemp('imagenet')
    (root / 'meta').mkdir()
    rng = np.random.default_rng(0)
    for split, method in (('train', zipfile.ZIP_STORED), ('val', zipfile.ZIP_DEFLATED)):
        listed = []
        for i in range(IMAGES):
            path = root / split / f'n{i % 4:08d}' / f'{split}_{i}.JPEG'
            path.parent.mkdir(parents=True, exist_ok=True)
            image = rng.integers(0, 256, (30 + i, 40, 3), dtype=np.uint8)
            path.write_bytes(cv2.imencode('.jpg', image)[1].tobytes())
            listed.append((path.relative_to(root / split).as_posix(), 999 - i % 4))
        pack(root / split, root / f'{split}.zip', method)
        (root / f'{split}_map.txt').write_text(''.join(f'{n}\t{label}\n' for n, label in listed))
        (root / 'meta' / f'{split}.txt').write_text(
            ''.join(f'{n} {label}\n' for n, label in listed)
        )
    return root


def pack(folder: Path, path: Path, method: int) -> None:
    """Zips a folder as `zip -r` does: folders and files, in an order of their own."""
    with zipfile.ZipFile(path, 'w', method) as archive:
        for file in sorted(folder.rglob('*'), key=lambda file: file.name):
            archive.write(file, file.relative_to(folder))


@pytest.fixture
def archives(imagenet: Path, tmp_path: Path) -> Path:
    """A copy of the archives and maps, to be damaged."""
    root = tmp_path / 'archives'
    root.mkdir()
    for split in ('train', 'val'):
        for name in (f'{split}.zip', f'{split}_map.txt'):
            (root / name).write_bytes((imagenet / name).read_bytes())
    return root
