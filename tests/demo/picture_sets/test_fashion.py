import csv
from collections import Counter

import cv2
import numpy as np

from demo.picture_sets.fashion import CLASSES


def test_class_folders_have_as_many_images_as_asked_for_and_those_of_their_class(made):
    for split, count in (('train', 6), ('val', 1)):
        folder = made / 'fashion/folders' / split
        assert sorted(path.name for path in folder.iterdir()) == sorted(CLASSES)
        for label, name in enumerate(CLASSES):
            paths = sorted((folder / name).iterdir())
            images = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in paths]
            assert [image.shape for image in images] == [(28, 28)] * count
            numbers = label + 10 * np.arange(count)
            assert [tuple(image[0, :2]) for image in images] == [(label, n) for n in numbers]


def test_the_table_has_the_same_images_and_classes_as_the_folders(made):
    table = made / 'fashion/csv'
    with (table / 'labels.csv').open(newline='') as stream:
        rows = list(csv.DictReader(stream))
    assert Counter(row['label'] for row in rows) == dict.fromkeys(CLASSES, 7)
    for row in rows:
        path = table / row['file']
        split = path.stem.split('_')[0]
        same = made / 'fashion/folders' / split / row['label'] / path.name
        assert path.read_bytes() == same.read_bytes()
