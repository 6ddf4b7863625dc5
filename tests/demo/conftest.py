"""A small folder that looks like the one of Debian's package dataset-fashion-mnist."""

import gzip
import struct

import numpy as np
import pytest


@pytest.fixture(scope='session')
def fashion(tmp_path_factory):
    folder = tmp_path_factory.mktemp('fashion')
    for part, count in (('train', 140), ('t10k', 30)):
        labels = np.arange(count, dtype=np.uint8) % 10
        # Each image tells its class and its number.
        images = np.zeros((count, 28, 28), np.uint8)
        images[:, 0, 0], images[:, 0, 1] = labels, np.arange(count)
        for kind, header, values in (
            ('images-idx3', struct.pack('>4i', 2051, count, 28, 28), images),
            ('labels-idx1', struct.pack('>2i', 2049, count), labels),
        ):
            data = gzip.compress(header + values.tobytes())
            (folder / f'{part}-{kind}-ubyte.gz').write_bytes(data)
    return folder
